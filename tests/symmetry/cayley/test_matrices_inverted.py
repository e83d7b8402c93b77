# SPDX-License-Identifier: Apache-2.0
from math import gcd

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.matrices import MatrixGraph, exact_determinant, exact_inverse


@given(st.integers(1, 4), st.integers(2, 2**30), st.data())
def test_inverse_modulo_m(size, modulus, data):
    entries = st.integers(0, modulus - 1)
    matrix = data.draw(st.lists(st.lists(entries, min_size=size, max_size=size), min_size=size, max_size=size))
    assume(gcd(exact_determinant(matrix), modulus) == 1)
    inverse = exact_inverse(matrix, modulus)
    product = np.array(matrix, dtype=object) @ np.array(inverse, dtype=object) % modulus
    assert (product == np.eye(size, dtype=int) % modulus).all()


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(-3, 3)), max_size=6), st.booleans())
def test_inverse_among_the_integers(steps, swapped):
    matrix = np.eye(3, dtype=object)
    for row, column, factor in steps:
        if row != column:
            matrix[row] = matrix[row] + factor * matrix[column]
    matrix = matrix[[1, 0, 2]] if swapped else matrix
    assert exact_determinant(matrix.tolist()) == (-1 if swapped else 1)
    product = matrix @ np.array(exact_inverse(matrix.tolist(), None), dtype=object)
    assert (product == np.eye(3, dtype=int)).all()


def test_float_inverses_fail_where_this_holds():
    graph = MatrixGraph([[(2, 0), (0, 3)]], 5)
    assert graph.inverted().generators == (((3, 0), (0, 2)),)
    assert graph.inverted().inverted().generators == graph.generators


def test_inverted_steps_lead_back():
    graph = MatrixGraph([[(1, 1), (0, 1)], [(1, 0), (3, 1)]], 7, names=["a", "b"])
    there = graph.applied(graph.start, ["a", "b", 1, "a"])
    assert graph.inverted().applied(there, ["a", 1, "b", "a"]) == graph.start


def test_applied_is_the_product_from_the_left():
    graph = MatrixGraph([[(1, 1), (0, 1)], [(1, 0), (3, 1)]], 7, names=["a", "b"])
    a, b = np.array(graph.generators)
    np.testing.assert_array_equal(graph.applied(graph.start, ["a", "b"]), b @ a % 7)


@pytest.mark.parametrize("step", ["c", 2, -1, None])
def test_unknown_generator(step):
    graph = MatrixGraph([[(1, 1), (0, 1)], [(1, 0), (3, 1)]], 7, names=["a", "b"])
    with pytest.raises(SymmetryError, match="there are a, b"):
        graph.applied(graph.start, [step])


def test_ragged_state():
    with pytest.raises(SymmetryError, match="rows of one length"):
        MatrixGraph([[(1, 1), (0, 1)]], 7).applied([[1], [1, 2]], [])

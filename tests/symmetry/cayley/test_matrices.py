# SPDX-License-Identifier: Apache-2.0
from math import gcd

import numpy as np
import pytest
import sympy
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.families import heisenberg, special_linear_root_weyl
from rankwise.symmetry.cayley.matrices import MatrixGraph, exact_determinant, exact_inverse
from symmetry_search import growth_by_sets

squares = st.integers(1, 4).flatmap(
    lambda n: st.lists(st.lists(st.integers(-9, 9), min_size=n, max_size=n), min_size=n, max_size=n)
)
SHEAR = ((1, 1), (0, 1))


@settings(deadline=None)
@given(squares)
def test_determinant_is_exact(rows):
    assert exact_determinant(rows) == sympy.Matrix(rows).det()


def test_determinant_of_large_entries_does_not_round():
    large = 10**12
    assert exact_determinant([[large, large - 1], [large + 1, large]]) == 1


@settings(deadline=None)
@given(squares, st.integers(2, 50))
def test_inverse_modulo_m_is_exact(rows, modulus):
    assume(gcd(exact_determinant(rows), modulus) == 1)
    product = np.array(rows) @ np.array(exact_inverse(rows, modulus)) % modulus
    assert (product == np.eye(len(rows), dtype=int) % modulus).all()


def test_a_diagonal_matrix_generates_its_powers():
    graph = MatrixGraph([[[2, 0], [0, 3]]], modulus=5)
    assert growth_by_sets(graph) == [1, 1, 1, 1]
    assert not graph.inverse_closed
    assert MatrixGraph([[[2, 0], [0, 3]], [[3, 0], [0, 2]]], modulus=5).inverse_closed


def test_neighbors_are_products_from_the_left():
    graph = special_linear_root_weyl(3, 7)
    states = np.random.default_rng(0).integers(0, 7, (5, 3, 2))
    found = graph.neighbors(states)
    assert found.shape == (4, 5, 3, 2)
    for index, matrix in enumerate(graph.moves):
        for row, state in enumerate(states):
            assert (found[index, row] == matrix @ state % 7).all()


def test_entries_are_taken_modulo_m():
    assert MatrixGraph([[[1, -1], [5, -4]]], modulus=5).generators == (((1, 4), (0, 1)),)


def test_vectors_are_states_too():
    graph = MatrixGraph([SHEAR, ((1, 0), (1, 1))], modulus=5, start=[[1], [0]])
    assert sum(growth_by_sets(graph)) == 5**2 - 1


def test_inverted_undoes_each_step():
    graph = heisenberg(4, 5, inverses=False)
    back = graph.inverted()
    for name in graph.names:
        assert back.applied(graph.applied(graph.start, [name]), [name]) == graph.start
    assert growth_by_sets(back) == growth_by_sets(graph)


def test_largest_modulus_multiplies_without_overflow():
    modulus = 2**31 - 1
    graph = MatrixGraph([((1, modulus - 1), (0, 1)), ((1, 0), (modulus - 1, 1))], modulus)
    found = graph.applied(((modulus - 1, 3), (modulus - 1, 5)), ["g0", "g1"])
    assert found == ((0, modulus - 2), (modulus - 1, 7))


@pytest.mark.parametrize(
    ("generators", "modulus", "said"),
    [
        ([], None, "at least one generator"),
        ([[]], None, "no rows"),
        ([SHEAR, [[1]]], None, "generator 1 must be 2 x 2"),
        ([[[1, 2, 3], [0, 1, 2]]], None, "generator 0 must be 2 x 2"),
        ([[[1, 0], [0]]], None, "generator 0 must be 2 x 2"),
        ([[[2, 0], [0, 3]]], 6, "determinant 6, which has no inverse modulo 6"),
        ([[[2, 0], [0, 1]]], None, "determinant 2, which has no inverse among the integers"),
        ([[[1, 1], [1, 1]]], 7, "determinant 0"),
        ([SHEAR], 0, "modulus=0: it must be at least 2"),
        ([SHEAR], 1, "at least 2"),
        ([SHEAR], -5, "at least 2"),
        ([SHEAR], 2**31 + 1, r"too large for 2 x 2 matrices: n \(m-1\)\^2 must be below 2\^63"),
        ([[[1, 0.5], [0, 1]]], None, "integers only"),
        ([[[1, 2**63], [0, 1]]], None, "64 bits"),
    ],
)
def test_what_generates_no_group_is_refused_with_the_reason(generators, modulus, said):
    with pytest.raises(SymmetryError, match=said):
        MatrixGraph(generators, modulus)


def test_the_largest_allowed_modulus_is_allowed():
    assert MatrixGraph([SHEAR], 2**31).modulus == 2**31


@pytest.mark.parametrize("start", [[[1, 0]], [[1], [0, 1]], []])
def test_a_start_of_another_shape_is_refused(start):
    with pytest.raises(SymmetryError, match="must have 2 rows of one length"):
        MatrixGraph([SHEAR], start=start)


def test_names_are_as_many_as_generators():
    with pytest.raises(SymmetryError, match="2 names for 1 generators"):
        MatrixGraph([SHEAR], names=["a", "b"])


def test_exact_integers_stop_before_they_leave_64_bits():
    graph = MatrixGraph([((1, 2**40), (0, 1))])
    with pytest.raises(SymmetryError, match=r"64 bits.*max_layers"):
        graph.neighbors(np.array([[[1, 0], [0, 2**30]]]))


@pytest.mark.parametrize("step", ["g1", 1])
def test_an_unknown_step_is_answered_with_the_names(step):
    with pytest.raises(SymmetryError, match="there are g0"):
        MatrixGraph([SHEAR], 5).applied(SHEAR, [step])

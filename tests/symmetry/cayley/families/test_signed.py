# SPDX-License-Identifier: Apache-2.0
from math import factorial

import numpy as np
import pytest

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.families import burnt_pancake, coxeter_b, coxeter_d, signed_reversals
from symmetry_search import growth_by_sets


def product_of_ones(lengths):
    """The coefficients of the product of 1 + q + ... + q^(length - 1)."""
    result = np.ones(1, dtype=np.int64)
    for length in lengths:
        result = np.convolve(result, np.ones(length, dtype=np.int64))
    return result.tolist()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_type_b_growth_is_the_product_over_degrees(n):
    growth = growth_by_sets(coxeter_b(n))
    assert growth == product_of_ones(range(2, 2 * n + 1, 2))
    assert sum(growth) == 2**n * factorial(n)


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_type_d_growth_is_the_product_over_degrees(n):
    growth = growth_by_sets(coxeter_d(n))
    assert growth == product_of_ones([*range(2, 2 * n - 1, 2), n])
    assert sum(growth) == 2 ** (n - 1) * factorial(n)


@pytest.mark.parametrize(("n", "diameter"), [(1, 1), (2, 4), (3, 6), (4, 8), (5, 10)])
def test_burnt_pancake_diameters_are_the_known_ones(n, diameter):
    growth = growth_by_sets(burnt_pancake(n))
    assert (sum(growth), len(growth) - 1) == (2**n * factorial(n), diameter)


@pytest.mark.parametrize(("n", "diameter"), [(1, 1), (2, 3), (3, 3), (4, 5), (5, 6)])
def test_signed_reversals_need_about_n_steps(n, diameter):
    growth = growth_by_sets(signed_reversals(n))
    assert (sum(growth), len(growth) - 1) == (2**n * factorial(n), diameter)


@pytest.mark.parametrize("build", [coxeter_b, coxeter_d, burnt_pancake, signed_reversals])
def test_the_two_sides_of_a_thing_stay_together(build):
    n = 5
    graph = build(n)
    assert graph.inverse_closed
    for generator in graph.generators:
        assert all(abs(generator[i] - generator[n + i]) == n for i in range(n))


def test_a_burnt_prefix_is_reversed_and_turned_over():
    sides = ["a", "b", "c", "A", "B", "C"]
    moved = [sides[letter] for letter in burnt_pancake(3).applied(range(6), ["R2"])]
    assert moved == ["B", "A", "c", "b", "a", "C"]


@pytest.mark.parametrize("build", [coxeter_b, burnt_pancake, signed_reversals])
def test_nothing_to_sign_is_refused(build):
    with pytest.raises(SymmetryError, match=r"\(n=0\).*n >= 1"):
        build(0)


def test_type_d_starts_at_two():
    with pytest.raises(SymmetryError, match="n >= 2"):
        coxeter_d(1)

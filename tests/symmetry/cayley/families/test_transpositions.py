# SPDX-License-Identifier: Apache-2.0
from math import factorial

import numpy as np
import pytest

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.families import all_transpositions, coxeter, cyclic_coxeter, generalized_stars, stars
from symmetry_search import growth_by_sets

SIZES = [2, 3, 4, 5, 6, 7]


def product_of_ones(lengths):
    """The coefficients of the product of 1 + q + ... + q^(length - 1)."""
    result = np.ones(1, dtype=np.int64)
    for length in lengths:
        result = np.convolve(result, np.ones(length, dtype=np.int64))
    return result.tolist()


def stirling(n):
    """How many permutations of n letters have n, n - 1, ..., 1 cycles: the coefficients of (1 + q)(1 + 2q)..."""
    result = np.ones(1, dtype=np.int64)
    for factor in range(1, n):
        result = np.convolve(result, [1, factor])
    return result.tolist()


@pytest.mark.parametrize("n", SIZES)
def test_coxeter_growth_is_the_product_over_degrees(n):
    assert growth_by_sets(coxeter(n)) == product_of_ones(range(2, n + 1))


@pytest.mark.parametrize("n", SIZES)
def test_all_transpositions_grow_by_stirling_numbers(n):
    assert growth_by_sets(all_transpositions(n)) == stirling(n)


@pytest.mark.parametrize("n", SIZES)
def test_cyclic_coxeter_diameter_is_a_quarter_of_n_squared(n):
    growth = growth_by_sets(cyclic_coxeter(n))
    assert (sum(growth), len(growth) - 1) == (factorial(n), n * n // 4)


@pytest.mark.parametrize("n", SIZES)
def test_star_diameter_is_three_halves_of_n(n):
    growth = growth_by_sets(stars(n))
    assert (sum(growth), len(growth) - 1) == (factorial(n), 3 * (n - 1) // 2)


@pytest.mark.parametrize(("n", "diameters"), [(4, [4, 4, 4]), (5, [6, 5, 5, 6]), (6, [7, 7, 6, 7, 7])])
def test_generalized_stars_are_the_same_from_both_sides(n, diameters):
    growths = [growth_by_sets(generalized_stars(n, k)) for k in range(1, n)]
    assert growths == growths[::-1]
    assert growths[0] == growth_by_sets(stars(n))
    assert [len(growth) - 1 for growth in growths] == diameters
    assert {sum(growth) for growth in growths} == {factorial(n)}


@pytest.mark.parametrize("build", [coxeter, cyclic_coxeter, all_transpositions, stars])
def test_generators_are_odd_involutions(build):
    graph = build(6)
    assert graph.inverse_closed and not graph.all_even
    growth = growth_by_sets(graph)
    assert sum(growth[::2]) == sum(growth[1::2]) == factorial(6) // 2


def test_generators_are_named_by_their_cycle():
    assert cyclic_coxeter(4).names == ("(0 1)", "(1 2)", "(2 3)", "(0 3)")
    assert generalized_stars(4, 2).names == ("(0 2)", "(0 3)", "(1 2)", "(1 3)")


@pytest.mark.parametrize("build", [coxeter, cyclic_coxeter, all_transpositions, stars])
def test_one_letter_is_too_few(build):
    with pytest.raises(SymmetryError, match=rf"{build.__name__}\(n=1\).*n >= 2"):
        build(1)


@pytest.mark.parametrize("k", [0, 4])
def test_generalized_stars_need_places_on_both_sides(k):
    with pytest.raises(SymmetryError, match="1 <= k < n"):
        generalized_stars(4, k)

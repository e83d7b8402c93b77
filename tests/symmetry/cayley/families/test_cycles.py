# SPDX-License-Identifier: Apache-2.0
from math import comb, factorial

import pytest

from rankwise.errors import CapacityError, SymmetryError
from rankwise.symmetry.cayley.families import (
    all_cycles,
    all_transpositions,
    increasing_k_cycles,
    stars,
    three_cycles,
    three_cycles_0ij,
    three_cycles_01i,
)
from symmetry_search import growth_by_sets


@pytest.mark.parametrize("n", [4, 5, 6])
def test_every_permutation_is_a_product_of_two_cycles(n):
    graph = all_cycles(n)
    cycles = sum(comb(n, length) * factorial(length - 1) for length in range(2, n + 1))
    assert growth_by_sets(graph) == [1, cycles, factorial(n) - cycles - 1]
    assert graph.inverse_closed


def test_too_many_cycles_are_refused_before_memory_is_gone():
    with pytest.raises(CapacityError, match=r"all cycles n=40 has more than 100000 generators.*smaller n"):
        all_cycles(40)


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7])
def test_three_cycles_need_half_of_n_steps(n):
    graph = three_cycles(n)
    growth = growth_by_sets(graph)
    assert (sum(growth), len(growth) - 1) == (factorial(n) // 2, n // 2)
    assert len(graph.generators) == n * (n - 1) * (n - 2) // 3
    assert graph.all_even and graph.inverse_closed


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7])
def test_three_cycles_through_zero_are_two_steps_of_a_star(n):
    graph = three_cycles_0ij(n)
    assert growth_by_sets(graph) == growth_by_sets(stars(n))[::2]
    assert graph.inverse_closed


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7])
def test_alternating_group_graph_has_its_known_diameter(n):
    growth = growth_by_sets(three_cycles_01i(n))
    assert (sum(growth), len(growth) - 1) == (factorial(n) // 2, 3 * (n - 2) // 2)


def test_alternating_group_without_inverses_is_directed():
    graph = three_cycles_01i(5, inverses=False)
    assert len(graph.generators) == 3 and not graph.inverse_closed
    assert sum(growth_by_sets(graph)) == 60
    assert set(graph.inverted().generators) | set(graph.generators) == set(three_cycles_01i(5).generators)


@pytest.mark.parametrize(("n", "k"), [(4, 3), (5, 3), (5, 4), (6, 4), (6, 5)])
def test_increasing_cycles_generate_the_group_of_their_parity(n, k):
    graph = increasing_k_cycles(n, k)
    assert len(graph.generators) == comb(n, k)
    assert sum(growth_by_sets(graph)) == graph.order == factorial(n) // (1 + k % 2)
    assert not graph.inverse_closed


def test_increasing_cycles_at_the_ends_of_k():
    assert increasing_k_cycles(5, 2).generators == all_transpositions(5).generators
    assert growth_by_sets(increasing_k_cycles(5, 5)) == [1, 1, 1, 1, 1]


@pytest.mark.parametrize("build", [three_cycles, three_cycles_0ij, three_cycles_01i])
def test_a_three_cycle_needs_three_letters(build):
    with pytest.raises(SymmetryError, match=rf"{build.__name__}\(n=2\).*n >= 3"):
        build(2)


def test_cycles_need_two_letters_and_no_more_than_there_are():
    with pytest.raises(SymmetryError, match="n >= 2"):
        all_cycles(1)
    for k in (1, 6):
        with pytest.raises(SymmetryError, match="2 <= k <= n"):
            increasing_k_cycles(5, k)

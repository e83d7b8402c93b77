# SPDX-License-Identifier: Apache-2.0
from math import factorial

import pytest

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.families import koltsov3, rapaport_m1, rapaport_m2, sheveleva2
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.permutations import composed, cycles, from_cycles, identity
from symmetry_search import growth_by_sets


@pytest.mark.parametrize(("n", "diameter"), [(3, 3), (4, 4), (5, 6), (6, 8), (7, 9)])
def test_rapaport_m1_generates_the_symmetric_group(n, diameter):
    graph = rapaport_m1(n)
    growth = growth_by_sets(graph)
    assert (sum(growth), len(growth) - 1) == (factorial(n), diameter)
    assert len(graph.generators) == n - 1 and graph.inverse_closed


@pytest.mark.parametrize(("n", "diameter"), [(3, 3), (4, 4), (5, 8), (6, 16), (7, 22)])
def test_rapaport_m2_generates_the_symmetric_group(n, diameter):
    graph = rapaport_m2(n)
    growth = growth_by_sets(graph)
    assert (sum(growth), len(growth) - 1) == (factorial(n), diameter)
    assert graph.inverse_closed


def test_rapaport_m2_is_koltsov3_with_the_first_pair():
    assert set(rapaport_m2(7).generators) == set(koltsov3(7, 1, 0, 1).generators)


def test_koltsov3_has_the_products_it_says():
    named = dict(zip(koltsov3(7, 2, 2).names, koltsov3(7, 2, 2).generators, strict=True))
    assert cycles(named["I"]) == [(0, 1), (2, 3), (4, 5)]
    assert cycles(named["K"]) == [(1, 2), (3, 4), (5, 6)]
    assert cycles(named["S"]) == [(2, 5), (3, 4)]
    assert cycles(koltsov3(7, 1, 2, 3).generators[2]) == [(2, 5)]


@pytest.mark.parametrize("parameters", [(5, 1, 0, 2), (5, 2, 1), (6, 1, 2, 1), (6, 2, 0), (6, 1, 1, 2), (7, 2, 3)])
def test_koltsov3_search_reaches_the_group_that_schreier_and_sims_count(parameters):
    graph = koltsov3(*parameters)
    assert graph.inverse_closed
    assert sum(growth_by_sets(graph)) == graph.order


@pytest.mark.parametrize(
    ("n", "k", "order", "diameter"),
    [(5, 1, 120, 10), (6, 2, 48, 8), (6, 3, 72, 10), (7, 3, 2520, 24), (8, 2, 40320, 44)],
)
def test_square_with_whiskers_is_slow(n, k, order, diameter):
    growth = growth_by_sets(sheveleva2(n, k))
    assert (sum(growth), len(growth) - 1) == (order, diameter)


@pytest.mark.parametrize("n", [5, 8, 9])
def test_square_with_whiskers_shares_the_edges_of_a_path(n):
    for k in range(1, n - 2):
        involution, other = sheveleva2(n, k).generators
        assert composed(involution, involution) == identity(n)
        assert (k - 1, k, k + 1, k + 2) in cycles(other)
        edges = cycles(involution) + cycles(other)
        assert len(edges) == n - 3
        # At k-1 and at k+1 the square meets an edge of the other generator; letters k and k+2 are in the square alone.
        assert {k, k + 2}.isdisjoint(letter for edge in cycles(involution) for letter in edge)


@pytest.mark.parametrize(("n", "order", "diameter"), [(7, 168, 13), (8, 40320, 31)])
def test_a_path_that_leaves_the_square_at_the_next_corner_is_another_family(n, order, diameter):
    opposite = sheveleva2(n, 2).generators
    exchanged = from_cycles(n, [(3, 4)])  # corners k+1 and k+2 change places in the edge that leaves the square
    next_corner = [composed(composed(exchanged, opposite[0]), exchanged), opposite[1]]
    growth = growth_by_sets(PermutationGraph(next_corner))
    assert (sum(growth), len(growth) - 1) == (order, diameter)


@pytest.mark.parametrize("build", [rapaport_m1, rapaport_m2])
def test_pairs_need_three_places(build):
    with pytest.raises(SymmetryError, match="n >= 3"):
        build(2)


@pytest.mark.parametrize(
    ("parameters", "rule"),
    [
        ((6, 3), "kind is 1"),
        ((6, 2, 3), r"k \+ 3 < n"),
        ((6, 1, 4, 2), r"k \+ 2 < n"),
        ((6, 1, 1, 0), "d >= 1"),
        ((6, 1, -1), "0 <= k"),
        ((8, 2, 1, 2), "leave d out"),
        ((2, 1, 0, 1), "n >= 3"),
    ],
)
def test_koltsov3_refuses_what_does_not_fit(parameters, rule):
    with pytest.raises(SymmetryError, match=rule):
        koltsov3(*parameters)


@pytest.mark.parametrize(("n", "k"), [(6, 0), (6, 4), (3, 1)])
def test_the_square_must_fit(n, k):
    with pytest.raises(SymmetryError, match="1 <= k <= n - 3"):
        sheveleva2(n, k)

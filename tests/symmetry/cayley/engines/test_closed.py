# SPDX-License-Identifier: Apache-2.0
from itertools import pairwise
from math import factorial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise.symmetry.cayley.engines.closed import ClosedFormEngine
from rankwise.symmetry.cayley.families import (
    all_transpositions,
    coxeter,
    coxeter_b,
    coxeter_d,
    cyclic_coxeter,
    generalized_stars,
    lrx,
    stars,
)
from rankwise.symmetry.cayley.families.matrix_groups import heisenberg
from rankwise.symmetry.cayley.families.registry import graph
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.permutations import Permutation, composed, from_cycles, inverse
from rankwise.symmetry.cayley.result import Layer, Limits
from symmetry_search import growth_by_sets

ENGINE = ClosedFormEngine()
FAMILIES = {"coxeter": 6, "stars": 6, "all_transpositions": 6, "coxeter_b": 4, "coxeter_d": 4}


def grown(searched: PermutationGraph, max_layers: int | None = None):
    return ENGINE.grow(searched, Limits(memory=2**20, max_layers=max_layers))


def renamed(plain: PermutationGraph, order: Permutation) -> PermutationGraph:
    return PermutationGraph([composed(composed(inverse(order), p), order) for p in plain.distinct])


@pytest.mark.parametrize(
    ("name", "size"), [(name, n) for name, largest in FAMILIES.items() for n in range(2, largest + 1)]
)
def test_formula_equals_a_search(name, size):
    plain = graph(name, size)
    assert ENGINE.refuses(plain) is None
    assert list(grown(plain).layers) == growth_by_sets(plain)


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_names_of_places_and_order_of_generators_do_not_matter(name, data):
    plain = graph(name, 5)
    order = data.draw(st.permutations(range(plain.size)))
    other = renamed(plain, tuple(order))
    other = PermutationGraph(data.draw(st.permutations(other.distinct)))
    assert grown(other).layers == grown(plain).layers
    assert grown(other).method == grown(plain).method


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["path", "star", "all"]), min_size=1, max_size=3), st.integers(0, 1))
def test_pieces_that_do_not_touch_multiply(kinds, fixed):
    pairs, place = [], fixed
    for kind in kinds:
        m = 3 if len(kinds) > 1 else 5
        here = range(place, place + m)
        made = {"path": list(pairwise(here)), "star": [(place, other) for other in here[1:]]}
        made["all"] = [(first, second) for first in here for second in here if first < second]
        pairs += made[kind]
        place += m
    if place > 7:  # 9 places are 216 states, still few enough for sets
        assert len(kinds) == 3
    split = PermutationGraph([from_cycles(place, [pair]) for pair in pairs])
    assert list(grown(split).layers) == growth_by_sets(split)


def test_thirty_places_are_instant_and_exact():
    for name in ("coxeter", "stars", "all_transpositions"):
        growth = grown(graph(name, 30))
        assert growth.total == factorial(30)
        assert growth.seconds < 1
    assert grown(coxeter(30)).diameter == 30 * 29 // 2
    assert grown(stars(30)).diameter == 3 * 29 // 2
    assert grown(all_transpositions(30)).diameter == 29
    assert grown(coxeter_b(30)).total == 2**30 * factorial(30)
    assert grown(coxeter_b(30)).diameter == 30**2
    assert grown(coxeter_d(30)).total == 2**29 * factorial(30)
    assert grown(coxeter_d(30)).diameter == 30 * 29


def test_method_says_the_formula():
    assert grown(coxeter(12)).method == "closed form: Coxeter type A, degrees 2..12"
    assert grown(coxeter_d(5)).method == "closed form: Coxeter type D, degrees 2, 4, ..., 8 and 5"
    both = PermutationGraph([from_cycles(7, [pair]) for pair in ((0, 1), (1, 2), (3, 4), (3, 5), (3, 6))])
    assert grown(both).method == (
        "closed form: Coxeter type A, degrees 2..3 x star transpositions of 4 places, counted by cycles"
    )


def test_limits_cut_the_answer_and_every_layer_is_reported():
    seen: list[Layer] = []
    growth = ENGINE.grow(coxeter(5), Limits(memory=2**20, max_layers=3, report=seen.append))
    assert growth.layers == (1, 4, 9, 15)
    assert not growth.complete
    assert [(layer.distance, layer.size, layer.total) for layer in seen] == [
        (0, 1, 1),
        (1, 4, 5),
        (2, 9, 14),
        (3, 15, 29),
    ]
    assert grown(coxeter(5), max_layers=10).complete


def test_only_identities_leave_one_state():
    assert grown(PermutationGraph([(0, 1, 2)])).layers == (1,)


TREE = PermutationGraph([from_cycles(5, [pair]) for pair in ((0, 1), (1, 2), (2, 3), (2, 4))])
CIRCLE_B = PermutationGraph([*coxeter_b(3).distinct, from_cycles(6, [(0, 2), (3, 5)])])
CIRCLE_D = PermutationGraph([*coxeter_d(4).distinct, from_cycles(8, [(0, 3), (4, 7)])])
MIXED = PermutationGraph([*coxeter_d(3).distinct, (2, 1, 0, 3, 4, 5)])
KLEIN = PermutationGraph([(1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0)])


@pytest.mark.parametrize(
    "other", [TREE, CIRCLE_B, CIRCLE_D, MIXED, KLEIN, cyclic_coxeter(5), generalized_stars(5, 2), lrx(5)]
)
def test_other_sets_are_refused(other):
    assert "these generators are none of them" in str(ENGINE.refuses(other))


def test_other_states_are_refused():
    assert "matrices" in str(ENGINE.refuses(heisenberg(3, 5)))
    assert "repeated letters" in str(ENGINE.refuses(PermutationGraph([(1, 0, 2)], start=(0, 0, 1))))

# SPDX-License-Identifier: Apache-2.0
import tracemalloc
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise.errors import CapacityError
from rankwise.symmetry.cayley.engines.bitmap import BitmapEngine
from rankwise.symmetry.cayley.engines.closed import ClosedFormEngine
from rankwise.symmetry.cayley.engines.symmetric import SymmetricEngine
from rankwise.symmetry.cayley.families import (
    coxeter,
    cyclic_coxeter,
    full_reversals,
    larx,
    lrx,
    lx,
    stars,
    three_cycles,
)
from rankwise.symmetry.cayley.families.matrix_groups import heisenberg
from rankwise.symmetry.cayley.families.registry import graph
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.permutations import composed, inverse
from rankwise.symmetry.cayley.result import Layer, Limits
from symmetry_search import growth_by_sets

ENGINE = SymmetricEngine()
LIMITS = Limits(memory=2**28, keep=10**6)
SMALL = [
    ("lrx", 6),
    ("lx", 6),
    ("larx", 5),
    ("lsl_cycles", 6),
    ("pancake", 6),
    ("full_reversals", 6),
    ("transposons", 6),
    ("coxeter", 6),
    ("cyclic_coxeter", 6),
    ("stars", 6),
    ("generalized_stars", 6, 2),
    ("generalized_stars", 6, 3),
    ("all_transpositions", 6),
    ("coxeter_b", 3),
    ("coxeter_d", 4),
    ("burnt_pancake", 3),
    ("three_cycles_0ij", 6),
    ("three_cycles_01i", 6),
    ("wrapped_k_cycles", 6, 3),
    ("conjugacy_classes", 6, 4),
    ("derangements", 5),
    ("koltsov3", 6),
]


@pytest.mark.parametrize("case", SMALL, ids=lambda case: "-".join(map(str, case)))
def test_growth_equals_a_search(case):
    searched = graph(*case)
    assert ENGINE.refuses(searched) is None
    growth = ENGINE.grow(searched, LIMITS)
    assert list(growth.layers) == growth_by_sets(searched)
    assert growth.complete


@settings(max_examples=40, deadline=None)
@given(st.lists(st.permutations(range(5)), min_size=1, max_size=3), st.permutations(range(5)), st.booleans())
def test_sets_made_symmetric_equal_a_search(generators, image, turned):
    conjugator, orbit = tuple(image), [tuple(generator) for generator in generators]
    for p in orbit:  # grows until it is closed
        moved = composed(composed(inverse(conjugator), inverse(p) if turned else p), conjugator)
        if moved not in orbit:
            orbit.append(moved)
    searched = PermutationGraph(orbit, start=(7, 0, 4, 2, 1))
    if ENGINE.refuses(searched) is None:
        growth = ENGINE.grow(searched, LIMITS)
        assert list(growth.layers) == growth_by_sets(searched)
        assert last_layer(searched, len(growth.layers) - 1) == {tuple(state) for state in growth.antipodes.tolist()}
    else:
        assert conjugator == (0, 1, 2, 3, 4) or not searched.distinct or all_fixed(orbit, conjugator, turned)


def all_fixed(generators, conjugator, turned):
    """Whether the conjugation does nothing to the group, so that there is no symmetry to use."""
    return not turned and all(composed(conjugator, p) == composed(p, conjugator) for p in generators)


def last_layer(searched: PermutationGraph, diameter: int) -> set[tuple[int, ...]]:
    states = [{tuple(searched.start)}]
    for _ in range(diameter):
        reached = {tuple(state[place] for place in p) for state in states[-1] for p in searched.generators}
        states.append(reached.difference(*states))
    return states[-1]


@pytest.mark.parametrize(
    ("searched", "order", "inversion"),
    [
        (lrx(7), 4, True),
        (lx(7), 2, True),
        (larx(7), 2, True),
        (coxeter(7), 4, True),
        (full_reversals(7), 4, True),
        (cyclic_coxeter(7), 28, True),
        (stars(7), 2 * factorial(6), True),
        (three_cycles(7), 2 * factorial(7), True),
    ],
)
def test_method_says_how_many_symmetries_there_are(searched, order, inversion):
    growth = ENGINE.grow(searched, Limits(memory=2**28, max_layers=2))
    assert f"orbits of {order} symmetries" in growth.method
    assert ("with inversion" in growth.method) == inversion


@pytest.mark.parametrize("searched", [lrx(8), lx(8), cyclic_coxeter(8)])
def test_it_sees_fewer_orbits_than_states_and_equals_the_bitmaps(searched):
    growth = ENGINE.grow(searched, LIMITS)
    assert growth.layers == BitmapEngine().grow(searched, LIMITS).layers
    orbits, order = (int(growth.method.split()[position]) for position in (1, 4))
    assert factorial(8) / order <= orbits < 1.2 * factorial(8) / order + 100
    assert np.array_equal(np.sort(growth.antipodes, axis=1), np.tile(np.arange(8), (len(growth.antipodes), 1)))


def test_twenty_places_are_counted_by_cycles():
    growth = ENGINE.grow(stars(20), LIMITS)
    assert growth.layers == ClosedFormEngine().grow(stars(20), LIMITS).layers
    assert ENGINE.grow(three_cycles(14), LIMITS).total == factorial(14) // 2


def test_orbits_of_more_than_two_words_are_exact():
    both = graph("generalized_stars", 18, 9)
    growth = ENGINE.grow(both, Limits(memory=2**28, max_layers=4))
    pairs = 9 * 9
    assert growth.layers[:2] == (1, pairs)
    assert growth.layers[2] == growth_by_sets(both, 2)[2]


def test_limits_cut_the_search_and_every_layer_is_reported():
    seen: list[Layer] = []
    growth = ENGINE.grow(lrx(6), Limits(memory=2**28, max_layers=3, report=seen.append))
    assert [layer.size for layer in seen] == list(growth.layers) == growth_by_sets(lrx(6), 3)
    assert not growth.complete
    assert growth.last_layer is not None
    assert len(growth.last_layer) == growth.layers[-1]
    assert ENGINE.grow(lrx(6), Limits(memory=2**28, keep=0)).last_layer is None


@pytest.mark.parametrize("searched", [lrx(8), lx(8), full_reversals(8), three_cycles(8)])
def test_memory_is_what_was_declared(searched):
    ENGINE.grow(lrx(4), LIMITS)
    tracemalloc.start()
    growth = ENGINE.grow(searched, LIMITS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= growth.memory


def test_too_little_memory_is_an_error():
    with pytest.raises(CapacityError, match=r"orbits of 4 symmetries; .* Raise memory="):
        ENGINE.grow(lrx(8), Limits(memory=2**20))


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (heisenberg(3, 5), "matrices"),
        (PermutationGraph([(1, 0, 2)], start=(0, 0, 1)), "repeated letters"),
        (PermutationGraph([(0, 1, 2)]), "a generator that moves one"),
        (PermutationGraph([(1, 2, 3, 4, 5, 0), (1, 2, 0, 4, 3, 5)]), "no symmetry"),
        (graph("cube_quarter", 2), "too many symmetries"),
        (PermutationGraph([tuple(place ^ 1 for place in range(14))]), "too many symmetries"),
    ],
)
def test_what_has_no_symmetry_is_refused(other, reason):
    assert reason in str(ENGINE.refuses(other))

# SPDX-License-Identifier: Apache-2.0
from itertools import permutations
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise.errors import CapacityError, SymmetryError
from rankwise.symmetry.cayley.families import (
    conjugacy_classes,
    derangements,
    graph,
    involutive_derangements,
    rand_generators,
    three_cycles,
)
from rankwise.symmetry.cayley.permutations import cycles
from symmetry_search import growth_by_sets


def cycle_type(permutation):
    return tuple(sorted((len(cycle) for cycle in cycles(permutation)), reverse=True))


@pytest.mark.parametrize(
    ("n", "lengths"), [(4, (2, 2)), (5, (3, 2)), (5, (1, 2, 1)), (6, (2, 3)), (6, (2, 2, 2)), (6, (6,)), (6, (3, 3))]
)
def test_a_class_holds_every_permutation_of_its_type_once(n, lengths):
    kind = tuple(sorted((length for length in lengths if length > 1), reverse=True))
    expected = {order for order in permutations(range(n)) if cycle_type(order) == kind}
    found = conjugacy_classes(n, {lengths: None})
    assert set(found.generators) == expected
    assert len(found.generators) == len(expected)
    assert found.inverse_closed


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 20))
def test_draws_are_of_the_class_different_and_repeat_with_the_seed(seed, count):
    drawn = conjugacy_classes(9, {(4, 2): count, (3, 3, 3): 2}, seed)
    assert len(set(drawn.generators)) == len(drawn.generators) == count + 2
    types = [cycle_type(generator) for generator in drawn.generators]
    assert types == [(4, 2)] * count + [(3, 3, 3)] * 2
    assert drawn == conjugacy_classes(9, {(4, 2): count, (3, 3, 3): 2}, seed)


def test_drawing_as_many_as_there_are_gives_the_class():
    assert set(conjugacy_classes(4, {(3,): 8}, seed=1).generators) == set(three_cycles(4).generators)


def test_draws_leave_the_global_generator_alone():
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    conjugacy_classes(6, {(2,): 3}, seed=0)
    rand_generators(6, 3, seed=0)
    assert np.random.random() == expected


def test_draws_are_even_over_a_class():
    drawn = [conjugacy_classes(4, {(2, 2): 1}, seed).generators[0] for seed in range(600)]
    counts = [drawn.count(generator) for generator in set(drawn)]
    assert len(counts) == 3 and min(counts) > 150


def test_an_integer_stands_for_all_cycles_of_that_length():
    assert set(graph("conjugacy_classes", 5, 3).generators) == set(three_cycles(5).generators)


@pytest.mark.parametrize(
    ("classes", "seed", "rule"),
    [
        ({}, None, "at least one cycle type"),
        ({(3, 3): None}, None, "sum of at most n"),
        ({(1, 1): None}, None, "one of them above 1"),
        ({(0, 2): None}, None, "lengths from 1 on"),
        ({(2,): None, (2, 1): None}, None, "stands twice"),
        ({(2,): 11}, 0, "10 permutations; draw 1 to 10"),
        ({(2,): 0}, 0, "draw 1 to 10"),
        ({(2,): 3}, None, "needs a seed"),
        ({(2,): 3}, -1, "from 0 on, got -1"),
        ({3: None}, None, "3 is no cycle type; write a tuple"),
        (6, None, "sum of at most n"),
    ],
)
def test_classes_that_do_not_fit_are_refused(classes, seed, rule):
    with pytest.raises(SymmetryError, match=rule):
        conjugacy_classes(5, classes, seed)


@pytest.mark.parametrize(("n", "count"), [(2, 1), (3, 2), (4, 9), (5, 44), (6, 265)])
def test_derangements_are_counted_right_and_reach_all_in_two_steps(n, count):
    graph = derangements(n)
    assert len(graph.generators) == count and graph.inverse_closed
    growth = growth_by_sets(graph)
    assert sum(growth) == (3 if n == 3 else factorial(n))
    assert growth == [1, count] if n <= 3 else [1, count, factorial(n) - count - 1]


@pytest.mark.parametrize(("n", "count", "order"), [(2, 1, 2), (4, 3, 4), (6, 15, 720), (8, 105, 20160)])
def test_involutive_derangements_are_perfect_matchings(n, count, order):
    graph = involutive_derangements(n)
    assert len(graph.generators) == count and graph.inverse_closed
    assert graph.order == order
    if n < 8:
        assert sum(growth_by_sets(graph)) == order


def test_random_generators_repeat_with_the_seed_and_differ_with_another():
    graph = rand_generators(7, 3, seed=11)
    assert graph == rand_generators(7, 3, seed=11)
    assert graph.generators != rand_generators(7, 3, seed=12).generators
    assert sum(growth_by_sets(graph)) == graph.order


@pytest.mark.parametrize("build", [lambda: derangements(1), lambda: involutive_derangements(5)])
def test_letters_that_cannot_all_move_are_refused(build):
    with pytest.raises(SymmetryError, match=r"n >= 2|n is even"):
        build()


@pytest.mark.parametrize(
    ("n", "k", "seed", "rule"), [(0, 1, 0, "n >= 1"), (4, 0, 0, "k >= 1"), (4, 1, -1, "seed is an integer from 0 on")]
)
def test_random_generators_need_letters_a_count_and_a_seed(n, k, seed, rule):
    with pytest.raises(SymmetryError, match=rule):
        rand_generators(n, k, seed)


def test_too_large_classes_are_refused_in_words():
    with pytest.raises(CapacityError, match="derangements n=200 has more than 20000 generators"):
        derangements(200)
    with pytest.raises(CapacityError, match="too many to hold"):
        involutive_derangements(100)

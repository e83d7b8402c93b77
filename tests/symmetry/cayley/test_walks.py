# SPDX-License-Identifier: Apache-2.0
from itertools import pairwise

import numpy as np
import pytest

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.families.shifts import lrx, lx
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.matrices import MatrixGraph
from rankwise.symmetry.cayley.paths import shortest_path
from rankwise.symmetry.cayley.puzzles.cube import cube_fixed_quarter
from rankwise.symmetry.cayley.walks import breadth_first_walks, nonbacktracking_walks, random_walks
from symmetry_search import growth_by_sets

MATRICES = MatrixGraph([[(1, 1), (0, 1)], [(1, -1), (0, 1)], [(1, 0), (1, 1)], [(1, 0), (-1, 1)]], 7)
GRAPHS = [lrx(6), lx(6), PermutationGraph([(1, 2, 3, 0), (3, 0, 1, 2)], start=(0, 0, 1, 1)), MATRICES]
KINDS = [random_walks, nonbacktracking_walks, breadth_first_walks]


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.title)
@pytest.mark.parametrize("kind", [random_walks, nonbacktracking_walks])
def test_each_step_is_a_generator(graph, kind):
    states, steps = kind(graph, walks=40, length=7, generator=rng())
    assert steps.tolist() == np.repeat(range(8), 40).tolist()
    layers = states.reshape(8, 40, *graph.start_states.shape[1:])
    assert (layers[0] == graph.start_states).all()
    for before, after in pairwise(layers):
        same = (graph.neighbors(before) == after).reshape(len(graph.generators), 40, -1).all(axis=-1)
        assert same.any(axis=0).all()


@pytest.mark.parametrize("graph", [lrx(6), MATRICES, cube_fixed_quarter(2)], ids=lambda graph: graph.title)
def test_nonbacktracking_walks_never_undo_a_step(graph):
    layers = nonbacktracking_walks(graph, walks=300, length=8, generator=rng()).states
    layers = layers.reshape(9, 300, -1)
    assert not (layers[2:] == layers[:-2]).all(axis=-1).any()
    classic = random_walks(graph, walks=300, length=8, generator=rng()).states.reshape(9, 300, -1)
    assert (classic[2:] == classic[:-2]).all(axis=-1).any()


def test_steps_are_uniform():
    graph = lrx(7)
    words = [graph.applied(graph.start, [first, second]) for first in "LRX" for second in "LRX"]
    for kind, ways in ((random_walks, 9), (nonbacktracking_walks, 6)):
        ends = list(map(tuple, kind(graph, walks=9000, length=2, generator=rng()).states[-9000:].tolist()))
        for word in set(words):
            expected = 9000 / ways * words.count(word)
            if word == graph.start:
                expected *= kind is random_walks
            assert abs(ends.count(word) - expected) < 5 * np.sqrt(9000 / ways * 3)  # five standard deviations


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_determines(kind):
    first, again, other = (kind(lrx(9), 30, 12, rng(seed)).states for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.title)
def test_breadth_first_walks_wide_enough_are_the_search(graph):
    states, steps = breadth_first_walks(graph, width=10_000, length=100, generator=rng())
    assert np.bincount(steps).tolist() == growth_by_sets(graph)
    for state, step in list(zip(states, steps, strict=True))[::40]:
        assert shortest_path(graph, state).length == step


def test_breadth_first_walks_keep_the_width_and_nothing_twice():
    states, steps = breadth_first_walks(lrx(8), width=50, length=20, generator=rng())
    growth = growth_by_sets(lrx(8), 20)
    sizes = np.bincount(steps)
    assert sizes[:5].tolist() == [min(50, size) for size in growth[:5]]
    assert sizes.max() == 50
    assert len(np.unique(states, axis=0)) == len(states)
    assert all(shortest_path(lrx(8), state).length <= step for state, step in zip(states[-9:], steps[-9:], strict=True))


def test_length_zero_is_the_start():
    for kind in KINDS:
        states, steps = kind(lrx(4), 1, 0, rng())
        assert (states.tolist(), steps.tolist()) == ([[0, 1, 2, 3]], [0])


def test_refuses_walks_that_can_only_go_back():
    with pytest.raises(SymmetryError, match="After X every generator undoes"):
        nonbacktracking_walks(PermutationGraph([(1, 0)], names=["X"]), 3, 2, rng())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("walks", "length"), [(0, 3), (3, -1)])
def test_refuses_no_walks(kind, walks, length):
    with pytest.raises(SymmetryError, match="at least 1 walk"):
        kind(lrx(4), walks, length, rng())

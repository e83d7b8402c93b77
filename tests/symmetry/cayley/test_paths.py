# SPDX-License-Identifier: Apache-2.0
import contextlib
import tracemalloc
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise.errors import CapacityError, SymmetryError
from rankwise.symmetry.cayley.families.shifts import lrx, lx, top_spin
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.keys import StateKeys
from rankwise.symmetry.cayley.layers import Layers
from rankwise.symmetry.cayley.matrices import MatrixGraph
from rankwise.symmetry.cayley.paths import Path, path_from_layers, shortest_path
from rankwise.symmetry.cayley.puzzles.cube import cube_fixed_half
from rankwise.symmetry.cayley.puzzles.pyraminx import tetraminx

HEISENBERG = MatrixGraph([[(1, 1, 0), (0, 1, 0), (0, 0, 1)], [(1, 0, 0), (0, 1, 1), (0, 0, 1)]], 4, names=["x", "y"])
GRAPHS = [
    lrx(5),
    lx(5),
    top_spin(5, 4),
    PermutationGraph([(1, 2, 3, 4, 5, 0), (1, 0, 2, 3, 4, 5)], start=(0, 0, 0, 1, 1, 2), title="coset"),
    PermutationGraph([(1, 2, 0, 3, 4), (0, 1, 3, 4, 2)], title="directed A_5"),
    HEISENBERG,
    MatrixGraph([[(1, 1), (0, 1)], [(1, 0), (1, 1)]], 6, title="directed SL(2, Z/6)"),
    MatrixGraph([[(1, 1), (0, 1)], [(0, 1), (1, 0)]], 5, start=[[1], [2]], title="vectors"),
]


def key(state):
    return tuple(map(key, state)) if np.ndim(state) else int(state)


def distances(graph, start=None):
    """From a start to all states, by a dictionary and one state at a time."""
    first = key(graph.start if start is None else start)
    found, waiting = {first: 0}, deque([first])
    while waiting:
        state = waiting.popleft()
        for number in range(len(graph.generators)):
            reached = graph.applied(state, [number])
            if reached not in found:
                found[reached] = found[state] + 1
                waiting.append(reached)
    return found


def assert_leads(graph, path, start, goal):
    assert graph.applied(start, path.names) == graph.applied(start, path.numbers) == key(goal)
    assert [key(state) for state in path.states] == [
        graph.applied(start, path.names[:n]) for n in range(path.length + 1)
    ]
    assert path.length == len(path.names) == len(path.numbers)


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.title)
def test_length_is_the_distance_for_all_states(graph):
    for goal, distance in distances(graph).items():
        path = shortest_path(graph, goal)
        assert path.length == distance
        assert_leads(graph, path, graph.start, goal)


@pytest.mark.parametrize("graph", [lx(5), GRAPHS[3], GRAPHS[6]], ids=lambda graph: graph.title)
def test_between_any_two_states(graph):
    states = list(distances(graph))
    for number in np.random.default_rng(0).integers(len(states), size=3):
        start = states[number]
        for goal, distance in list(distances(graph, start).items())[::5]:
            path = shortest_path(graph, goal, start)
            assert path.length == distance
            assert_leads(graph, path, start, goal)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_random_directed_graphs(data):
    size = data.draw(st.integers(2, 6))
    generators = data.draw(st.lists(st.permutations(range(size)), min_size=1, max_size=3))
    start = data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    graph = PermutationGraph(generators, start=start)
    found = distances(graph)
    goal = data.draw(st.permutations(start))
    if tuple(goal) in found:
        assert shortest_path(graph, goal).length == found[tuple(goal)]
    else:
        with pytest.raises(SymmetryError, match=r"No path|odd permutation"):
            shortest_path(graph, goal)


def test_states_of_several_words():
    cube = cube_fixed_half(3)
    for word in (["R", "U2", "F'"], ["L", "D", "B2", "R'"]):
        goal = cube.applied(cube.start, word)
        path = shortest_path(cube, goal)
        assert path.length == len(word)
        assert_leads(cube, path, cube.start, goal)


def test_exact_integers_without_a_modulus():
    graph = MatrixGraph([[(1, 1), (0, 1)], [(1, 0), (1, 1)], [(1, -1), (0, 1)]])
    goal = graph.applied(graph.start, [0, 1, 1, 2, 1])
    path = shortest_path(graph, goal)
    assert path.length <= 5
    assert_leads(graph, path, graph.start, goal)


def test_same_path_again_and_longest_path_of_lrx():
    farthest = (1, 0, 7, 6, 5, 4, 3, 2)  # the element at distance n(n-1)/2
    assert shortest_path(lrx(8), farthest).length == 28
    assert shortest_path(lrx(8), farthest) == shortest_path(lrx(8), farthest)


def test_start_is_goal():
    path = shortest_path(lrx(5), range(5))
    assert (path.length, path.names, path.states.shape) == (0, (), (1, 5))


def test_max_layers_bounds_the_length():
    graph = lx(5)
    goal, distance = max(distances(graph).items(), key=lambda item: item[1])
    assert shortest_path(graph, goal, max_layers=distance).length == distance
    with pytest.raises(SymmetryError, match=f"No path of {distance - 1} steps"):
        shortest_path(graph, goal, max_layers=distance - 1)


@pytest.mark.parametrize(
    ("graph", "goal", "message"),
    [
        (lrx(5), (0, 1, 2, 3, 3), "other letters"),
        (lrx(5), (0, 1, 2, 3), "5 letters"),
        (top_spin(5, 4), (1, 0, 2, 3, 4), "No path|odd permutation"),
        (PermutationGraph([(1, 2, 0, 3, 4), (0, 1, 3, 4, 2)]), (1, 0, 2, 3, 4), "odd permutation"),
        (PermutationGraph([(1, 2, 3, 0)]), (1, 0, 3, 2), "No path"),
        (HEISENBERG, [(1, 0, 0), (1, 1, 0), (0, 0, 1)], "No path"),
        (HEISENBERG, [(1, 0, 0), (0, 1, 0)], "3 rows"),
    ],
)
def test_refuses_what_no_path_reaches(graph, goal, message):
    with pytest.raises(SymmetryError, match=message):
        shortest_path(graph, goal)


def test_memory_is_kept_and_the_message_says_what_is_needed():
    graph = lrx(8)
    goal = (1, 0, 7, 6, 5, 4, 3, 2)
    assert shortest_path(graph, goal, memory=2**22).length == 28
    with pytest.raises(CapacityError, match=r"may need \d+ bytes, allowed here are"):
        shortest_path(graph, goal, memory=20_000)


@pytest.mark.parametrize("graph", [lrx(8), lx(8), tetraminx()], ids=lambda graph: graph.title)
def test_layers_keep_within_their_memory(graph):
    allowed = 2**21
    keys = StateKeys(graph)
    layers = Layers(graph, keys, keys.start)
    tracemalloc.start()
    with contextlib.suppress(CapacityError):
        while len(layers.last):
            layers.grow(allowed)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert allowed / 10 < peak <= allowed


def test_out_of_memory_says_so_only_if_there_is_a_path():
    cube = cube_fixed_half(3)
    flipped = list(cube.start)
    first, second = next(_edges(cube))
    flipped[first], flipped[second] = second, first
    with pytest.raises(SymmetryError, match="No path"):
        shortest_path(cube, flipped, memory=300_000)
    with pytest.raises(CapacityError):
        shortest_path(cube, cube.applied(cube.start, ["R", "U", "F", "L", "D", "B"] * 3), memory=300_000)


def _edges(cube):
    """Pairs of stickers that are moved by the same face turns, two of them: edges."""
    moved = (cube.moves != np.arange(cube.size)).T
    for first in range(cube.size):
        for second in range(first):
            if (moved[first] == moved[second]).all() and moved[first].sum() == 6:
                yield first, second


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.title)
def test_path_from_stored_layers(graph):
    found = distances(graph)
    layers = [
        np.array([state for state, distance in found.items() if distance == at])
        for at in range(max(found.values()) + 1)
    ]
    for goal, distance in list(found.items())[::3]:
        path = path_from_layers(graph, layers, goal)
        assert path.length == distance
        assert_leads(graph, path, graph.start, goal)


def test_foreign_layers_are_refused():
    layers = [np.array([(0, 1, 2)]), np.array([(1, 0, 2)])]
    with pytest.raises(SymmetryError, match="no predecessor"):
        path_from_layers(PermutationGraph([(1, 2, 0)]), layers, (1, 0, 2))
    with pytest.raises(SymmetryError, match="none of the 2 layers"):
        path_from_layers(PermutationGraph([(1, 2, 0)]), layers, (2, 0, 1))
    with pytest.raises(SymmetryError, match="one state"):
        path_from_layers(PermutationGraph([(1, 2, 0)]), [], (2, 0, 1))


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.title)
def test_layers_are_those_of_a_search_one_state_at_a_time(graph):
    keys = StateKeys(graph)
    layers = Layers(graph, keys, keys.start)
    while len(layers.last):
        layers.grow(10**5)  # a few states in a batch
    found = distances(graph)
    for distance, layer in enumerate(layers.layers[:-1]):
        assert sorted(map(key, keys.unpack(layer))) == sorted(state for state, at in found.items() if at == distance)
    assert sum(len(layer) for layer in layers.layers) == len(found)
    assert layers.bytes == keys.key_bytes * len(found)


def test_path_along_and_equality():
    graph = lrx(4)
    path = Path.along(graph, graph.start, [0, 2])
    assert path == Path(("L", "X"), (0, 2), path.states[::-1])
    assert path.states.tolist() == [[0, 1, 2, 3], [1, 2, 3, 0], [2, 1, 3, 0]]

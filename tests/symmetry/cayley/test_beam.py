# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from torch import nn

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.beam import beam_search
from rankwise.symmetry.cayley.explicit import to_sparse
from rankwise.symmetry.cayley.families.shifts import lrx, lx
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.matrices import MatrixGraph
from rankwise.symmetry.cayley.paths import shortest_path
from rankwise.symmetry.cayley.predictors import Hamming, NeighborScores
from rankwise.symmetry.cayley.puzzles.pyraminx import tetraminx
from rankwise.symmetry.cayley.walks import nonbacktracking_walks, random_walks

MATRICES = MatrixGraph([[(1, 1), (0, 1)], [(1, -1), (0, 1)], [(1, 0), (1, 1)], [(1, 0), (-1, 1)]], 5)
COSETS = PermutationGraph([(1, 2, 3, 4, 5, 0), (1, 0, 2, 3, 4, 5)], start=(0, 0, 0, 1, 1, 2), title="coset")
GRAPHS = [lrx(5), lx(5), COSETS, MATRICES]


class Exact:
    """The distance of states to the graph's start."""

    def __init__(self, graph):
        states, distances = to_sparse(graph.inverted())[1:]
        self.table = {state.tobytes(): distance for state, distance in zip(states, distances, strict=True)}
        self.asked = 0

    def __call__(self, states):
        self.asked += len(states)
        return np.array([self.table[state.tobytes()] for state in states], dtype=float)


def states_of(graph):
    return to_sparse(graph).states[::6]


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.title)
def test_a_perfect_predictor_finds_shortest_paths(graph):
    exact = Exact(graph)
    for start in states_of(graph):
        shortest = shortest_path(graph, graph.start, start).length
        for width in (1, 10**6):
            path = beam_search(graph, start, width, max_steps=shortest, predictor=exact)
            assert path.length == shortest
            assert np.array_equal(graph.applied(start, path.names), graph.start)
            np.testing.assert_array_equal(path.states[-1], graph.start)


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.title)
def test_unlimited_width_needs_no_predictor(graph):
    for start in states_of(graph):
        shortest = shortest_path(graph, graph.start, start).length
        assert beam_search(graph, start, 10**6, 100).length == shortest
        if shortest:
            assert beam_search(graph, start, 10**6, shortest - 1) is None


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.title)
def test_scores_of_all_neighbors_at_once_lead_the_same_way(graph):
    exact, asked = Exact(graph), []

    def scores(states):
        asked.append(len(states))
        neighbors = graph.neighbors(states)
        return np.stack([exact(after) for after in neighbors], axis=1)

    for start in states_of(graph):
        path = beam_search(graph, start, 3, 100, NeighborScores(scores))
        assert path.length == shortest_path(graph, graph.start, start).length
    assert max(asked) <= 3  # only the beam itself is seen


def test_goal_may_be_any_state():
    graph = lrx(6)
    start, goal = (2, 0, 1, 5, 4, 3), (5, 1, 0, 3, 2, 4)
    path = beam_search(graph, start, 10**6, 100, goal=goal)
    assert path.length == shortest_path(graph, goal, start).length
    assert graph.applied(start, path.numbers) == goal


def test_a_beam_far_narrower_than_the_layers_solves_a_puzzle():
    puzzle = tetraminx()  # 933,120 states
    scrambled = random_walks(puzzle, 1, 20, np.random.default_rng(0)).states[-1]
    path = beam_search(puzzle, scrambled, 20_000, 20)
    assert path is not None
    assert puzzle.applied(scrambled, path.names) == puzzle.start
    assert len({state.tobytes() for state in path.states}) == path.length + 1


def test_neighbors_scored_in_states_of_several_words():
    puzzle = tetraminx()
    hamming = Hamming(np.arange(24))
    scores = NeighborScores(lambda states: np.stack([hamming(after) for after in puzzle.neighbors(states)], axis=1))
    start = puzzle.applied(puzzle.start, ["U", "L", "B'"])
    assert beam_search(puzzle, start, 300, 3, scores).length == beam_search(puzzle, start, 300, 3).length == 3


@pytest.mark.slow
def test_a_predictor_trained_on_walks_needs_a_thousandth_of_the_width():
    puzzle, generator = tetraminx(), np.random.default_rng(0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(24, 16), nn.Flatten(), nn.Linear(384, 128), nn.ReLU(), nn.Linear(128, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(300):
        states, steps = nonbacktracking_walks(puzzle, 128, 11, generator)
        loss = (model(torch.from_numpy(states))[:, 0] - torch.from_numpy(steps).float()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for scrambled in random_walks(puzzle, 10, 30, generator).states[-10:]:
        assert beam_search(puzzle, scrambled, 20, 100, model) is not None
        assert beam_search(puzzle, scrambled, 20, 100) is None


def test_no_state_is_kept_twice_and_the_width_holds():
    seen = []

    def noted(states):
        seen.append(len(states))
        return np.zeros(len(states))

    assert beam_search(lrx(7), (6, 5, 4, 3, 2, 1, 0), 5, 6, noted) is None
    assert max(seen) <= 5 * 3
    walked = []
    scores = NeighborScores(lambda states: walked.extend(map(tuple, states)) or np.zeros((len(states), 3)))
    assert beam_search(lrx(7), (6, 5, 4, 3, 2, 1, 0), 5, 20, scores) is None
    assert len(walked) == len(set(walked))


@pytest.mark.parametrize("column", [False, True])
def test_torch_modules_are_called_with_tensors(column):
    class Differences(nn.Module):
        def __init__(self):
            super().__init__()
            self.goal = nn.Parameter(torch.arange(5.0))

        def forward(self, states):
            assert isinstance(states, torch.Tensor) and states.dtype == torch.int64
            return (states != self.goal).float().sum(dim=1, keepdim=column)

    graph = lrx(5)
    for start in states_of(graph):
        with_numpy = beam_search(graph, start, 4, 30, Hamming(np.arange(5)))
        assert beam_search(graph, start, 4, 30, Differences()) == with_numpy == beam_search(graph, start, 4, 30)


def test_torch_module_for_all_neighbors():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(20, 3))
    path = beam_search(lrx(5), (4, 3, 2, 1, 0), 1000, 100, NeighborScores(model))
    assert path.length == shortest_path(lrx(5), range(5), (4, 3, 2, 1, 0)).length  # whole layers are kept


def test_start_is_goal():
    assert beam_search(lrx(5), range(5), 1, 0).length == 0
    assert beam_search(lrx(5), (1, 0, 2, 3, 4), 1, 0) is None


@pytest.mark.parametrize(
    ("predictor", "message"),
    [
        (lambda states: np.zeros((len(states), 2)), "shape"),
        (lambda states: 0.0, "shape"),
        (lambda states: np.full(len(states), np.nan), "NaN"),
        (NeighborScores(lambda states: np.zeros(len(states))), "shape"),
    ],
)
def test_refuses_answers_of_no_use(predictor, message):
    with pytest.raises(SymmetryError, match=message):
        beam_search(lrx(5), (4, 3, 2, 1, 0), 4, 30, predictor)


def test_refuses_no_width_and_foreign_states():
    with pytest.raises(SymmetryError, match="width=0"):
        beam_search(lrx(5), range(5), 0, 3)
    with pytest.raises(SymmetryError, match="other letters"):
        beam_search(lrx(5), (0, 0, 1, 2, 3), 3, 3)


def test_when_every_state_was_seen_the_search_ends():
    assert beam_search(PermutationGraph([(1, 2, 0, 3)]), (0, 1, 3, 2), 5, 10**9) is None

# SPDX-License-Identifier: Apache-2.0
"""Beam search: step by step the most promising neighbors are kept, by a predictor of their distance to the goal.

It finds paths in graphs far too large to search, with no promise that they are shortest. Duplicates are removed by
their whole states, and no state is kept twice.
"""

import numpy as np
from numpy.typing import NDArray

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.families.registry import Graph
from rankwise.symmetry.cayley.keys import State, StateKeys, contained
from rankwise.symmetry.cayley.paths import Path
from rankwise.symmetry.cayley.predictors import Hamming, NeighborScores, Predictor, predicted


def beam_search(
    graph: Graph,
    start: State,
    width: int,
    max_steps: int,
    predictor: Predictor | NeighborScores | None = None,
    goal: State | None = None,
) -> Path | None:
    """A path from a state to the goal that keeps the `width` best states of each step.

    Args:
        graph: whose generators to apply.
        start: where to begin, such as a scrambled puzzle.
        width: states kept after each step.
        max_steps: the longest path to look for.
        predictor: guesses the distance to the goal, smaller is closer: a callable numpy [states, n] -> [states], a
            torch module, or `NeighborScores` of either; None counts the entries that differ from the goal.
        goal: where to end; None is the graph's start.

    Returns:
        The path, or None if the beam did not come by the goal.

    Raises:
        SymmetryError: if a state is none of the graph's, the width is below 1, or the predictor's answer has no use.

    Example:
        >>> from rankwise.symmetry.cayley.families import lrx
        >>> beam_search(lrx(5), (1, 0, 2, 3, 4), width=10, max_steps=5).names
        ('X',)
    """
    if width < 1 or max_steps < 0:
        raise SymmetryError(f"width={width}, max_steps={max_steps}: keep at least 1 state and take steps from 0.")
    keys = StateKeys(graph, start)
    end = keys.key(graph.start_states[0] if goal is None else goal)
    scores = Hamming(keys.unpack(end)[0].astype(np.int64)) if predictor is None else predictor
    beam = _Beam(graph, keys, width)
    for _ in range(max_steps):
        if beam.holds(end) or not len(beam.last):
            break
        beam.step(scores, end)
    return Path.along(graph, keys.start, beam.numbers(end)) if beam.holds(end) else None


class _Beam:
    """The states kept of each step, with the generator and the state before that led to them."""

    def __init__(self, graph: Graph, keys: StateKeys, width: int) -> None:
        self.graph, self.keys, self.width = graph, keys, width
        self.last = keys.key(keys.start)
        self.seen = self.last
        self.origins: list[NDArray[np.int64]] = []  # of each step: generator * (states before) + state before
        self.sizes: list[int] = []

    def holds(self, key: NDArray[np.generic]) -> bool:
        """Whether a state is among those kept last."""
        return bool((self.last == key).any())

    def step(self, scores: Predictor | NeighborScores, end: NDArray[np.generic]) -> None:
        """Replace the beam by the best of its neighbors; the goal, where it is one of them, is the best."""
        states = self.keys.unpack(self.last).astype(np.int64)
        every = self.keys.pack(self.graph.neighbors(states).reshape(-1, *self.keys.start.shape))
        if isinstance(scores, NeighborScores):
            guesses = predicted(scores.predictor, states, (len(states), len(self.graph.moves))).T.ravel()
            order = np.lexsort((guesses, every))  # of equal states the one with the best guess stands first
            found, first = np.unique(every[order], return_index=True)
            origins = order[first]
        else:
            found, origins = np.unique(every, return_index=True)
        new = ~contained(found, self.seen)
        found, origins = found[new], origins[new]
        if isinstance(scores, NeighborScores):
            guesses = guesses[origins]
        else:
            guesses = predicted(scores, self.keys.unpack(found).astype(np.int64), (len(found),))
        best = np.argsort(np.where(found == end, -np.inf, guesses), kind="stable")[: self.width]
        self.sizes.append(len(states))
        self.origins.append(origins[best])
        self.last = found[best]
        self.seen = np.sort(np.concatenate([self.seen, self.last]))

    def numbers(self, key: NDArray[np.generic]) -> list[int]:
        """Generators that led to a state of the last step, from the start on."""
        at = int(np.flatnonzero(self.last == key)[0])
        path = []
        for origins, size in zip(reversed(self.origins), reversed(self.sizes), strict=True):
            number, at = divmod(int(origins[at]), size)
            path.append(number)
        return path[::-1]

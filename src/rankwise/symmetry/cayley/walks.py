# SPDX-License-Identifier: Apache-2.0
"""Random walks from the start: states with the number of steps taken, as training data for a predictor of distance.

The number of steps is an upper bound of the distance. Walks that never undo a step stay closer to it, and walks in
breadth, which never come back to what they have seen lately, closer still: as long as a layer is no larger than the
width they are the exact search. All draw from a numpy Generator that is handed in, so its seed determines them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.families.registry import Graph
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.keys import StateKeys, contained, distinct


class Walks(NamedTuple):
    """States that walks came by.

    Attributes:
        states: [states, ...], all of step 0 first, then all of step 1, and so on; within a step, walk by walk.
        steps: how many steps it took to come to each, [states].
    """

    states: NDArray[np.int64]
    steps: NDArray[np.int64]


def random_walks(graph: Graph, walks: int, length: int, generator: np.random.Generator) -> Walks:
    """Walks from the start that apply a uniformly random generator in each step.

    Args:
        graph: whose generators to apply.
        walks: how many.
        length: steps of each; the start itself is step 0.
        generator: of the random numbers.

    Raises:
        SymmetryError: if walks < 1 or length < 0.

    Example:
        >>> graph = PermutationGraph([(1, 2, 3, 0), (1, 0, 2, 3)])
        >>> random_walks(graph, walks=2, length=3, generator=np.random.default_rng(0)).steps.tolist()
        [0, 0, 1, 1, 2, 2, 3, 3]
    """
    _check(walks, length)
    states = [np.repeat(graph.start_states, walks, axis=0)]
    for _ in range(length):
        states.append(_stepped(graph, states[-1], generator.integers(len(graph.moves), size=walks)))
    return _in_order(states)


def nonbacktracking_walks(graph: Graph, walks: int, length: int, generator: np.random.Generator) -> Walks:
    """Walks from the start that never undo the step before: uniform among all generators but its inverses.

    Args:
        graph: whose generators to apply.
        walks: how many.
        length: steps of each; the start itself is step 0.
        generator: of the random numbers.

    Raises:
        SymmetryError: if walks < 1 or length < 0, or a step can only be followed by its inverse.
    """
    _check(walks, length)
    allowed = ~_undoing(graph)
    counts = allowed.sum(axis=1)
    if length > 1 and not counts.all():
        name = graph.names[int(np.argmin(counts))]  # type: ignore[index]
        raise SymmetryError(f"After {name} every generator undoes the step; a walk that never does needs another one.")
    order = np.argsort(~allowed, axis=1, kind="stable")  # allowed generators first
    states = [np.repeat(graph.start_states, walks, axis=0)]
    choice = generator.integers(len(allowed), size=walks)
    for step in range(length):
        if step:
            choice = order[choice, generator.integers(counts[choice])]
        states.append(_stepped(graph, states[-1], choice))
    return _in_order(states)


def breadth_first_walks(graph: Graph, width: int, length: int, generator: np.random.Generator) -> Walks:
    """Layers of a search from the start, each cut down to `width` random states that were in no layer before.

    A state enters the next layer only if it is a neighbor of the layer kept and in no layer kept so far. Layers of at
    most `width` states are complete, so that as far as they go steps are exact distances.

    Args:
        graph: whose generators to apply.
        width: the most states kept of a layer.
        length: the most steps; fewer if no state is left.
        generator: of the random numbers.

    Raises:
        SymmetryError: if width < 1 or length < 0.
    """
    _check(width, length)
    keys = StateKeys(graph)
    layers = [keys.key(keys.start)]
    for _ in range(length):
        neighbors = graph.neighbors(keys.unpack(layers[-1]))
        found = distinct(keys.pack(neighbors.reshape(-1, *keys.start.shape)))
        for layer in layers:
            found = found[~contained(found, layer)]
        if len(found) > width:
            found = np.sort(generator.choice(found, size=width, replace=False, shuffle=False))
        if not len(found):
            break
        layers.append(found)
    return _in_order([keys.unpack(layer).astype(np.int64) for layer in layers])


def _check(walks: int, length: int) -> None:
    if walks < 1 or length < 0:
        raise SymmetryError(f"{walks} walks of length {length}: take at least 1 walk and a length from 0.")


def _stepped(graph: Graph, states: NDArray[np.int64], choice: NDArray[np.int64]) -> NDArray[np.int64]:
    """To each state its own generator applied."""
    if isinstance(graph, PermutationGraph):
        return np.take_along_axis(states, graph.moves[choice], axis=1)
    return graph.neighbors(states)[choice, np.arange(len(states))]


def _undoing(graph: Graph) -> NDArray[np.bool_]:
    """Whether generator h undoes generator g, [g, h]."""
    size = graph.size
    unit = np.arange(size) if isinstance(graph, PermutationGraph) else np.eye(size, dtype=np.int64)
    twice = graph.neighbors(graph.neighbors(unit[None])[:, 0])
    return (twice == unit).reshape(*twice.shape[:2], -1).all(axis=-1).T


def _in_order(states: list[NDArray[np.int64]]) -> Walks:
    steps = np.repeat(np.arange(len(states)), [len(layer) for layer in states])
    return Walks(np.concatenate(states), steps)

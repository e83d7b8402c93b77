# SPDX-License-Identifier: Apache-2.0
"""Shortest paths between two states, by layers from both ends that meet in the middle.

Forward layers grow from the start along the generators, backward layers from the goal along their inverses, always the
smaller of the two next. As long as they share no state the distance is larger than the sum of their depths, so the
first state they share lies on a shortest path. Whole states are compared, never hashes. Two ends of depth d/2 hold
about the square root of the states that one search to depth d would.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rankwise.errors import CapacityError, SymmetryError
from rankwise.symmetry.cayley.families.registry import Graph
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.keys import State, StateKeys, contained
from rankwise.symmetry.cayley.layers import Layers
from rankwise.symmetry.cayley.permutations import is_even
from rankwise.symmetry.cayley.result import Limits


@dataclass(frozen=True)
class Path:
    """A path of generators.

    Args:
        names: of the generators, in the order in which they are applied.
        numbers: of the same generators.
        states: from the start to the goal, [length + 1, ...].
    """

    names: tuple[str, ...]
    numbers: tuple[int, ...]
    states: NDArray[np.int64] = field(compare=False, repr=False)

    @property
    def length(self) -> int:
        """How many generators it takes."""
        return len(self.numbers)

    @classmethod
    def along(cls, graph: Graph, start: State, numbers: Sequence[int]) -> "Path":
        """The path that generators, by number, take from a state."""
        states = [np.array(start, dtype=np.int64)]
        for number in numbers:
            states.append(graph.neighbors(states[-1][None])[number, 0])
        names: Sequence[str] = graph.names  # type: ignore[assignment]
        return cls(tuple(names[number] for number in numbers), tuple(numbers), np.stack(states))


def shortest_path(
    graph: Graph,
    goal: State,
    start: State | None = None,
    max_layers: int | None = None,
    memory: int | None = None,
) -> Path:
    """A shortest path from a state to another one, in directed graphs too.

    Args:
        graph: whose generators to apply.
        goal: where to end.
        start: where to begin; None is the graph's start.
        max_layers: the longest path to look for; None looks until there can be none.
        memory: bytes for the layers; None is what a search takes, four fifths of what is free.

    Returns:
        One of the shortest paths; the same one whenever asked again.

    Raises:
        SymmetryError: if the goal cannot be reached, or not within `max_layers`.
        CapacityError: if the layers do not fit the memory; says what they would need.

    Example:
        >>> shortest_path(PermutationGraph([(1, 2, 3, 0), (1, 0, 2, 3)], names=["L", "X"]), (3, 2, 1, 0)).names
        ('X', 'L', 'L', 'X')
    """
    keys = StateKeys(graph, start)
    forward, backward = Layers(graph, keys, keys.start), Layers(graph.inverted(), keys, goal)
    _check_parity(graph, keys.start, goal)
    memory = Limits().memory if memory is None else memory
    small, large = forward, backward
    while not len(shared := small.last[contained(small.last, large.last)]):
        length = len(forward.layers) + len(backward.layers) - 1
        if max_layers is not None and length > max_layers:
            raise SymmetryError(f"No path of {max_layers} steps or fewer leads to the goal; raise max_layers.")
        try:
            small.grow(memory - large.bytes)
        except CapacityError:
            _check_membership(graph, keys.start, goal)
            raise
        if not len(small.last):
            raise SymmetryError(_unreachable(graph))
        small, large = sorted((forward, backward), key=lambda side: len(side.last))
    first = _descent(backward.graph, keys, forward.layers, shared[:1])[::-1]
    return Path.along(graph, keys.start, first + _descent(graph, keys, backward.layers, shared[:1]))


def path_from_layers(graph: Graph, layers: Sequence[NDArray[np.integer]], goal: State) -> Path:
    """A shortest path from the state in layer 0 to one in any layer, walked back through stored layers.

    Args:
        graph: the one that was searched.
        layers: the states at distance 0, 1, ..., each [states, ...] in any order.
        goal: a state in one of them.

    Raises:
        SymmetryError: if the goal is in no layer, or a layer holds no predecessor: they are not this graph's layers.
    """
    if not len(layers) or len(layers[0]) != 1:
        raise SymmetryError("Layer 0 must hold one state, the one where paths begin.")
    keys = StateKeys(graph, layers[0][0])
    end = keys.key(goal)
    ordered = [np.sort(keys.pack(np.asarray(layer))) for layer in layers]
    distance = next((number for number, layer in enumerate(ordered) if contained(end, layer)[0]), None)
    if distance is None:
        raise SymmetryError(
            f"The goal is in none of the {len(ordered)} layers; store more of them, or search for a path."
        )
    numbers = _descent(graph.inverted(), keys, ordered[: distance + 1], end)[::-1]
    return Path.along(graph, keys.start, numbers)


def _descent(
    graph: Graph, keys: StateKeys, layers: Sequence[NDArray[np.generic]], key: NDArray[np.generic]
) -> list[int]:
    """Numbers of generators that lead from a state in the last layer down to layer 0, one layer each."""
    numbers = []
    for distance in range(len(layers) - 2, -1, -1):
        reached = keys.pack(graph.neighbors(keys.unpack(key))[:, 0])
        below = np.flatnonzero(contained(reached, layers[distance]))
        if not len(below):
            raise SymmetryError(f"Layer {distance} holds no predecessor; these are not the layers of {graph.title}.")
        numbers.append(int(below[0]))
        key = reached[below[:1]]
    return numbers


def _check_parity(graph: Graph, start: NDArray[np.int64], goal: State) -> None:
    """Refuse at once what only an odd permutation could reach."""
    if isinstance(graph, PermutationGraph) and graph.all_even and len(set(start.tolist())) == graph.size:
        if not is_even(_between(start, goal)):
            raise SymmetryError(
                "The goal is an odd permutation of the start, and every generator is even: no path leads there."
            )


def _check_membership(graph: Graph, start: NDArray[np.int64], goal: State) -> None:
    """Refuse what no path reaches, by Schreier and Sims's algorithm: for searches that ran out of memory."""
    if isinstance(graph, PermutationGraph) and len(set(start.tolist())) == graph.size:
        from sympy.combinatorics import Permutation, PermutationGroup  # noqa: PLC0415  an extra, needed here only

        group = PermutationGroup([Permutation(list(generator)) for generator in graph.generators])
        if Permutation(list(_between(start, goal))) not in group:
            raise SymmetryError(_unreachable(graph))


def _between(start: NDArray[np.int64], goal: State) -> tuple[int, ...]:
    """The permutation that takes the start to the goal: goal[i] = start[p[i]]."""
    order = np.argsort(start)
    return tuple(order[np.searchsorted(start[order], np.array(goal))].tolist())


def _unreachable(graph: Graph) -> str:
    return f"No path of {graph.title} leads from the start to the goal: it is not among the states that can be reached."

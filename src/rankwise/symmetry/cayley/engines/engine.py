# SPDX-License-Identifier: Apache-2.0
"""What an engine owes: say whether it can take a graph, what it will need, and search; and the walk they share."""

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from rankwise.symmetry.cayley.families.registry import Graph
from rankwise.symmetry.cayley.result import Growth, Layer, Limits


class Engine(Protocol):
    """One way to count the states at each distance."""

    name: str

    def refuses(self, graph: Graph) -> str | None:
        """Why this engine cannot take the graph, as the end of a sentence, or None if it can."""
        ...

    def memory(self, graph: Graph) -> int:
        """Bytes that a complete search needs at most, as far as it is known in advance."""
        ...

    def grow(self, graph: Graph, limits: Limits) -> Growth:
        """Search from the graph's start."""
        ...


class Walk(NamedTuple):
    """How a search went, layer by layer.

    Attributes:
        layers: number of states at each distance.
        complete: whether the last one has no neighbors that are new.
        seconds: wall time.
    """

    layers: tuple[int, ...]
    complete: bool
    seconds: float


def walked(step: Callable[[], int], limits: Limits, began: float) -> Walk:
    """Take steps from the start until a layer is empty or `limits.max_layers` is reached, and report each layer.

    Args:
        step: finds the next layer and gives its size; 0 if there is none.
        limits: the largest distance, and whom to report to.
        began: when the search began, on `time.perf_counter`'s clock.
    """
    layers, complete = [1], False
    limits.report(Layer(0, 1, 1, 0.0))
    while not complete and (limits.max_layers is None or len(layers) <= limits.max_layers):
        size = step()
        complete = size == 0
        if size:
            layers.append(size)
            limits.report(Layer(len(layers) - 1, size, sum(layers), time.perf_counter() - began))
    return Walk(tuple(layers), complete, time.perf_counter() - began)

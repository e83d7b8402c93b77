# SPDX-License-Identifier: Apache-2.0
"""What an engine owes: say whether it can take a graph, what it will need, and search."""

from typing import Protocol

from rankwise.symmetry.cayley.families.registry import Graph
from rankwise.symmetry.cayley.result import Growth, Limits


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

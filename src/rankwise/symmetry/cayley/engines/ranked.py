# SPDX-License-Identifier: Apache-2.0
"""Search with one bit per state where states have numbers (ranking.py): for any permutation group, cosets, matrices.

Three bitmaps are held: visited, the last layer and what is reached from it. The states of a layer are made from their
numbers in batches, moved, and numbered again. It needs a fraction of the memory of sorted arrays, 3 bits a state.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from math import factorial, prod

import numpy as np
from numpy.typing import NDArray

from rankwise.errors import CapacityError
from rankwise.symmetry.cayley.engines.engine import walked
from rankwise.symmetry.cayley.engines.images import ImagePacking
from rankwise.symmetry.cayley.engines.packing import packing
from rankwise.symmetry.cayley.engines.ranking import Ranking, ranking
from rankwise.symmetry.cayley.engines.ranks import mark, members
from rankwise.symmetry.cayley.engines.sweep import clear, settle
from rankwise.symmetry.cayley.families.registry import Graph
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.result import Growth, Limits

_CHUNK = 256  # words of a chunk that is skipped if it is empty
_BATCH = 2**15  # states that are moved in one go
_NUMBERS = 2**62
_NODES = 20_000  # of the tables of words: numbers of letters left


class RankedEngine:
    """One bit per state, found by its number."""

    name = "ranked"

    def refuses(self, graph: Graph) -> str | None:
        """Why there are no numbers for the states, or None."""
        if not isinstance(graph, PermutationGraph):
            if graph.modulus is None:
                return "it numbers all states, and matrices of integers without a modulus may be infinitely many"
        elif not graph.is_group:
            nodes = prod(count + 1 for count in np.unique(graph.start_states, return_counts=True)[1].tolist())
            if nodes > _NODES:
                return f"it numbers words by tables over the letters left, {nodes} entries here, {_NODES} at most"
        if (states := _states(graph)) > _NUMBERS:
            return f"it holds a bit for each of up to {states} states, more than it can number"
        return None

    def memory(self, graph: Graph) -> int:
        """3 bits for each number, and some batches."""
        words = packing(graph).words
        return _chunks(_states(graph)) * (3 * 8 * _CHUNK + 2) + 8 * _BATCH * (words + 1) * (_generators(graph) + 4)

    def grow(self, graph: Graph, limits: Limits) -> Growth:
        """Search by layers until one is empty or `limits.max_layers` is reached.

        Raises:
            CapacityError: if the bitmaps do not fit into `limits.memory`.
        """
        began, memory = time.perf_counter(), self.memory(graph)
        if memory > limits.memory:
            raise CapacityError(
                f"{graph.title}: {limits.memory} bytes are allowed, and a bit for each of up to {_states(graph)} "
                f"states, three times, needs {memory}. Raise memory=, or give disk= to keep layers in files."
            )
        search = _Search(ranking(graph), limits.threads)
        with ThreadPoolExecutor(limits.threads) as pool:
            walk = walked(lambda: search.step(pool), limits, began)
        return Growth(
            title=graph.title,
            **walk._asdict(),
            method=self.name,
            memory=memory,
            last_layer=search.states() if walk.layers[-1] <= limits.keep else None,
        )


class _Search:
    """The bitmaps, and one step from a layer to the next.

    Args:
        numbered: how states are numbered.
        threads: how many batches are moved at once.
    """

    def __init__(self, numbered: Ranking, threads: int) -> None:
        self.ranking, self.threads = numbered, threads
        chunks = _chunks(numbered.count)
        self.visited, self.last, self.reached = (np.zeros((chunks, _CHUNK), dtype=np.uint64) for _ in range(3))
        self.in_last, self.in_reached = (np.zeros(chunks, dtype=np.uint8) for _ in range(2))
        start = numbered.ranks(numbered.packing.start())
        mark(start, self.visited, self.in_last)
        mark(start, self.last, self.in_last)

    def step(self, pool: ThreadPoolExecutor) -> int:
        """Replace the last layer by the next, unless that is empty; the number of states in the next."""
        batches = self._batches()
        while works := list(islice(batches, self.threads)):
            for reached in pool.map(self._moved, works) if len(works) > 1 else map(self._moved, works):
                for ranks in reached:
                    mark(ranks, self.reached, self.in_reached)
        chunks = len(self.visited)
        size = int(settle(0, chunks, self.visited, self.reached, self.in_reached))
        if size:
            clear(0, chunks, self.last, self.in_last)
            self.last, self.reached = self.reached, self.last
            self.in_last, self.in_reached = self.in_reached, self.in_last
        return size

    def states(self) -> NDArray[np.int64]:
        """The states of the last layer, in the order of their numbers."""
        ranks = np.concatenate(list(self._batches()))
        return self.ranking.packing.unpacked(self.ranking.states(ranks))

    def _batches(self) -> Iterator[NDArray[np.int64]]:
        """The numbers of the last layer."""
        word = 0
        while word < self.last.size:
            found = np.empty(_BATCH, dtype=np.int64)
            count, word = members(self.last, self.in_last, word, found)
            yield found[:count]

    def _moved(self, ranks: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """The numbers of the neighbors of some states, by generator."""
        states, packed = self.ranking.states(ranks), self.ranking.packing
        return [self.ranking.ranks(packed.moved(states, generator)) for generator in range(packed.generators)]


def _states(graph: Graph) -> int:
    """How many numbers there are."""
    if not isinstance(graph, PermutationGraph):
        return ranking(graph).count
    if not graph.is_group:
        counts = np.unique(graph.start_states, return_counts=True)[1].tolist()
        return factorial(graph.size) // prod(map(factorial, counts))
    bound = ImagePacking(graph).order  # at once, where the exact order of a large group takes minutes
    return bound if bound > _NUMBERS else graph.order


def _generators(graph: Graph) -> int:
    return len(graph.distinct) if isinstance(graph, PermutationGraph) else len(graph.moves)


def _chunks(states: int) -> int:
    return -(-states // (64 * _CHUNK))

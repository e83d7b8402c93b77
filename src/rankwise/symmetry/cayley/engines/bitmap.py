# SPDX-License-Identifier: Apache-2.0
"""Search the full symmetric or alternating group with one bit per permutation and block tables (blocks.py).

Three bitmaps are held: visited, the last layer and what is reached from it; n!/8 bytes each, half of that where all
generators are even. A layer costs one table look-up and one set bit per edge, without ranking, sorting or hashing. No
two parts of a generator's work write the same chunk: source chunks are divided by the suffix letters that stay, which
the target keeps.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from math import factorial

import numpy as np
from numpy.typing import NDArray

from rankwise.symmetry.cayley.engines.chunks import Chunks
from rankwise.symmetry.cayley.engines.engine import walked
from rankwise.symmetry.cayley.engines.layer import (
    CONTROL,
    HELP,
    MOST_PARTS,
    PULLS,
    SIZE,
    STATE,
    STOP,
    Parts,
    Room,
    serve,
    shares,
    stacked,
)
from rankwise.symmetry.cayley.engines.sweep import SPARE
from rankwise.symmetry.cayley.families.registry import Graph
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.permutations import Permutation, inverse
from rankwise.symmetry.cayley.result import Growth, Limits

_FEW = 1_000  # states of a layer that are not worth to be shared
_PARTS = 4  # of a phase, for each thread
_LISTED = 2**20  # states of a layer that are listed once for all generators; two bytes each
_PULLED = 0.1  # unvisited states for each edge of the last layer, below which the next layer is pulled
_LARGEST = 16  # letters: a suffix letter's bit and a chunk's number fit in 64 bits far beyond it, memory does not


class BitmapEngine:
    """One bit per permutation, moved a block at a time."""

    name = "bitmap"

    def refuses(self, graph: Graph) -> str | None:
        """Why the graph is none of all permutations of its letters, or None."""
        if not isinstance(graph, PermutationGraph):
            return "it searches permutations, and these states are matrices"
        if not graph.is_group:
            return "it searches groups, and the start has repeated letters"
        if graph.size > _LARGEST:
            return f"it holds a bit for each of the {graph.size}! permutations, and n is above {_LARGEST}"
        return None

    def memory(self, graph: Graph) -> int:
        """3 n!/8 bytes of bitmaps (half for even generators), tables, orders and places of chunks, a list of states."""
        assert isinstance(graph, PermutationGraph)
        chunks = Chunks(graph)
        orders = 8 * chunks.count * (len(graph.distinct) + 5)
        return 3 * chunks.bitmap_bytes + chunks.side_bytes + orders + 2 * min(_LISTED, 8 * chunks.bitmap_bytes)

    def grow(self, graph: Graph, limits: Limits) -> Growth:
        """Search by layers until one is empty or `limits.max_layers` is reached."""
        assert isinstance(graph, PermutationGraph)
        began = time.perf_counter()
        search = _Search(Chunks(graph), limits.threads)
        with search.helped():
            walk = walked(search.step, limits, began)
        return Growth(
            title=graph.title,
            **walk._asdict(),
            method=self.name,
            memory=self.memory(graph),
            last_layer=search.states() if walk.layers[-1] <= limits.keep else None,
        )


class _Search:
    """The bitmaps, and one step from a layer to the next."""

    def __init__(self, chunks: Chunks, threads: int) -> None:
        self.chunks, self.threads, self.layer = chunks, threads, 0
        generators, count = chunks.graph.distinct or (tuple(range(chunks.graph.size)),), chunks.count
        stack = stacked(generators, chunks.prefix, chunks.halved)
        self.tables = stack, (chunks.suffixes, chunks.odd_suffix)
        whole = np.arange(count, dtype=np.int32), [(0, count, 0, count)]
        self.alone = shares([whole] * len(generators))
        self.together = shares([self._parts(one) for one in generators]) if threads > 1 else self.alone
        self.room = Room(
            bitmaps=np.zeros((3, count, chunks.words), dtype=np.uint64),
            flags=np.zeros((2, count), dtype=np.uint8),
            sizes=np.zeros(count, dtype=np.int64),
            listed=np.empty(min(_LISTED, 64 * chunks.words * count) + SPARE * count, dtype=np.uint16),
            spans=np.zeros((count, 2), dtype=np.int64),
            control=np.zeros(CONTROL, dtype=np.int64),
        )
        self.left = 64 * chunks.words * count  # states that were not reached
        self.pulls = chunks.graph.inverse_closed and self.left * (1 + chunks.halved) == factorial(chunks.graph.size)
        home = chunks.home
        self.room.bitmaps[:2, home, 0] = self.room.flags[0, home] = 1
        self.room.spans[home:, 1] = self.room.control[SIZE] = 1

    @contextmanager
    def helped(self) -> Iterator[None]:
        """Threads that take their part of all steps."""
        with ThreadPoolExecutor(max(1, self.threads - 1)) as pool:
            helpers = [pool.submit(self._serve, HELP, 0) for _ in range(self.threads - 1)]
            try:
                yield
            finally:
                self.room.control[STATE] = STOP
        for helper in helpers:
            helper.result()

    def step(self) -> int:
        """Replace the last layer by the next, unless that is empty; the number of states in the next."""
        control = self.room.control
        few, self.left = control[SIZE] <= _FEW, self.left - int(control[SIZE])
        edges = int(control[SIZE]) * len(self.alone.orders)
        control[PULLS] = self.pulls and self.left < _PULLED * edges
        self._serve(self.layer, 1 if few else self.together.parts.shape[1])
        size = int(control[SIZE])
        self.layer += size > 0
        return size

    def _serve(self, layer: int, parts: int) -> None:
        serve(self.tables, self.alone, self.together, self.room, layer, parts)

    def states(self) -> NDArray[np.int64]:
        """The states of the last layer, [states, n]."""
        odd = self.layer % 2
        flagged = np.flatnonzero(self.room.flags[odd]).tolist()
        return np.concatenate([self.chunks.states(chunk, self.room.bitmaps[1 + odd, chunk]) for chunk in flagged])

    def _parts(self, generator: Permutation) -> Parts:
        """Source chunks and targets of each part, such that no two write the same target."""
        count, prefix = self.chunks.count, self.chunks.prefix
        turned = inverse(generator)
        staying = [place - prefix for place in range(prefix, self.chunks.graph.size) if turned[place] >= prefix]
        if not staying:
            ends = np.linspace(0, count, self.threads + 1).astype(int).tolist()
            return np.arange(count, dtype=np.int32), [(0, count, first, end) for first, end in pairwise(ends)]
        keys = self.chunks.suffixes[:, staying]
        order = np.lexsort(keys.T).astype(np.int32)
        starts = np.flatnonzero((np.diff(keys[order], axis=0) != 0).any(axis=1)) + 1
        ideal = np.linspace(0, count, min(_PARTS * self.threads, MOST_PARTS) + 1)[1:-1]
        cuts = np.unique(starts[np.searchsorted(starts, ideal).clip(max=len(starts) - 1)]).tolist()
        return order, [(start, stop, 0, count) for start, stop in pairwise([0, *cuts, count])]

# SPDX-License-Identifier: Apache-2.0
"""Search the full symmetric or alternating group with one bit per permutation and block tables (blocks.py).

Three bitmaps are held: visited, the last layer and what is reached from it; n!/8 bytes each, half of that where all
generators are even. A layer costs one table look-up and one set bit per edge, without ranking, sorting or hashing. Two
threads never write the same chunk: source chunks are divided by the suffix letters that stay, which the target keeps.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwise.symmetry.cayley.engines.blocks import BlockTables
from rankwise.symmetry.cayley.engines.chunks import Chunks
from rankwise.symmetry.cayley.engines.engine import walked
from rankwise.symmetry.cayley.engines.sweep import SPARE, UNLISTED, clear, list_members, push, settle
from rankwise.symmetry.cayley.families.registry import Graph
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.result import Growth, Limits

_FEW = 500_000  # states of a layer that one thread moves about as fast as others are woken
_LISTED = 2**20  # states of a layer that are listed once for all generators; two bytes each
_LARGEST = 16  # letters: a suffix letter's bit and a chunk's number fit in 64 bits far beyond it, memory does not

Listed = tuple[NDArray[np.uint16], NDArray[np.int64]]


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
        """3 n!/8 bytes of bitmaps (half for even generators), tables, orders of the chunks, and a list of states."""
        assert isinstance(graph, PermutationGraph)
        chunks = Chunks(graph)
        orders = 4 * chunks.count * (len(graph.distinct) + 6)
        return 3 * chunks.bitmap_bytes + chunks.side_bytes + orders + 2 * min(_LISTED, 8 * chunks.bitmap_bytes)

    def grow(self, graph: Graph, limits: Limits) -> Growth:
        """Search by layers until one is empty or `limits.max_layers` is reached."""
        assert isinstance(graph, PermutationGraph)
        began = time.perf_counter()
        search = _Search(Chunks(graph), limits.threads)
        with ThreadPoolExecutor(limits.threads) as pool:
            walk = walked(lambda: search.step(pool), limits, began)
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
        self.chunks, self.threads, self.size = chunks, threads, 1
        self.whole = np.arange(chunks.count, dtype=np.int32), (0, chunks.count)
        self.ranges = list(pairwise(np.linspace(0, chunks.count, threads + 1).astype(int).tolist()))
        self.parts = [self._parts(table) if threads > 1 else [self.whole] for table in chunks.tables]
        shape = (chunks.count, chunks.words)
        self.visited, self.last, self.reached = (np.zeros(shape, dtype=np.uint64) for _ in range(3))
        self.in_last, self.in_reached = (np.zeros(chunks.count, dtype=np.uint8) for _ in range(2))
        home = chunks.home
        self.visited[home, 0] = self.last[home, 0] = self.in_last[home] = 1

    def step(self, pool: ThreadPoolExecutor) -> int:
        """Replace the last layer by the next, unless that is empty; the number of states in the next."""
        helpers = pool if self.size > _FEW and self.threads > 1 else None
        listed = self._listed() if self.size <= _LISTED else UNLISTED
        for table, parts in zip(self.chunks.tables, self.parts, strict=True):
            _all(helpers, partial(self._push, table, listed), parts if helpers else [self.whole])
        ranges = self.ranges if helpers else [self.whole[1]]
        size = sum(_all(helpers, self._settle, ranges))
        if size:
            self.size = size
            _all(helpers, self._clear, ranges)
            self.last, self.reached = self.reached, self.last
            self.in_last, self.in_reached = self.in_reached, self.in_last
        return size

    def _listed(self) -> Listed:
        found, spans = np.empty(self.size + SPARE, dtype=np.uint16), np.empty((self.chunks.count, 2), dtype=np.int64)
        list_members(self.last, self.in_last, found, spans)
        return found, spans

    def _push(self, table: BlockTables, listed: Listed, sources: NDArray[np.int32], only: tuple[int, int]) -> None:
        source, sink = (self.last, self.in_last, 0), (self.reached, self.in_reached, 0)
        push(table.fields, (self.chunks.suffixes, self.chunks.odd_suffix), (sources, only), source, sink, listed)

    def _settle(self, first: int, end: int) -> int:
        return int(settle(first, end, self.visited, self.reached, self.in_reached))

    def _clear(self, first: int, end: int) -> None:
        clear(first, end, self.last, self.in_last)

    def states(self) -> NDArray[np.int64]:
        """The states of the last layer, [states, n]."""
        flagged = np.flatnonzero(self.in_last).tolist()
        return np.concatenate([self.chunks.states(chunk, self.last[chunk]) for chunk in flagged])

    def _parts(self, table: BlockTables) -> list[tuple[NDArray[np.int32], tuple[int, int]]]:
        """Source chunks for each thread, such that no two write the same target."""
        prefix = self.chunks.prefix
        turned = np.argsort(table.generator)
        staying = [place - prefix for place in range(prefix, self.chunks.graph.size) if turned[place] >= prefix]
        if not staying:
            return [(self.whole[0], part) for part in self.ranges]
        keys = self.chunks.suffixes[:, staying]
        order = np.lexsort(keys.T).astype(np.int32)
        starts = np.flatnonzero((np.diff(keys[order], axis=0) != 0).any(axis=1)) + 1
        ideal = np.linspace(0, len(order), self.threads + 1)[1:-1]
        cuts = np.unique(starts[np.searchsorted(starts, ideal).clip(max=len(starts) - 1)])
        return [(part, (0, self.chunks.count)) for part in np.split(order, cuts)]


def _all(pool: ThreadPoolExecutor | None, work: Callable[..., Any], parts: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Do the work on the arguments of every part, at once if there is a pool; the last part in this thread."""
    if pool is None:
        return [work(*part) for part in parts]
    others = [pool.submit(work, *part) for part in parts[:-1]]
    last = work(*parts[-1])
    return [*(other.result() for other in others), last]

# SPDX-License-Identifier: Apache-2.0
"""The bitmap search with its bitmaps in files: a bound on memory, and a search that goes on after a kill.

Only the targets of one range of chunks are in memory at a time; the last layer is read once for each range, in order.
New states of all ranges are written first and added to the visited ones afterwards, which can be done twice without
harm: so whenever the process ends, the folder holds a search that can go on.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rankwise.errors import CapacityError
from rankwise.symmetry.cayley.engines.bitmap import BitmapEngine
from rankwise.symmetry.cayley.engines.chunks import Chunks
from rankwise.symmetry.cayley.engines.folder import Folder
from rankwise.symmetry.cayley.engines.sweep import UNLISTED, push, settle
from rankwise.symmetry.cayley.families.registry import Graph
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.result import Growth, Layer, Limits

_BATCH = 32 * 2**20  # bytes read at once


class DiskEngine:
    """Bitmaps in files; needs `Limits.disk`."""

    name = "disk"

    def refuses(self, graph: Graph) -> str | None:
        """As the bitmap engine: all permutations of the letters."""
        return BitmapEngine().refuses(graph)

    def memory(self, graph: Graph) -> int:
        """The least it can work with: tables, flags, two batches of rows and as much for the targets."""
        assert isinstance(graph, PermutationGraph)
        chunks = Chunks(graph)
        return chunks.side_bytes + 3 * min(_BATCH, chunks.bitmap_bytes)

    def grow(self, graph: Graph, limits: Limits) -> Growth:
        """Search, or go on where the folder's search was ended.

        Raises:
            CapacityError: if no folder is given or its disk is too full.
            CheckpointError: if the folder holds another graph's search or a damaged one.
        """
        assert isinstance(graph, PermutationGraph)
        if limits.disk is None:
            raise CapacityError(f"The engine {self.name!r} keeps its bitmaps in files; give a folder (disk).")
        began = time.perf_counter()
        search = _Search(Chunks(graph), Folder.opened(limits.disk, Chunks(graph)), limits)
        layers = search.folder.layers
        for distance, size in enumerate(layers):
            limits.report(Layer(distance, size, sum(layers[: distance + 1]), 0.0))
        with ThreadPoolExecutor(limits.threads) as pool:
            while not search.folder.complete and (limits.max_layers is None or len(layers) <= limits.max_layers):
                size = search.step(pool)
                if size:
                    limits.report(Layer(len(layers) - 1, size, sum(layers), time.perf_counter() - began))
        return Growth(
            title=graph.title,
            layers=tuple(layers),
            complete=search.folder.complete,
            method=self.name,
            seconds=time.perf_counter() - began,
            memory=search.memory,
            last_layer=search.states() if layers[-1] <= limits.keep else None,
        )


class _Search:
    """One step from a layer to the next, range of targets by range of targets."""

    def __init__(self, chunks: Chunks, folder: Folder, limits: Limits) -> None:
        self.chunks, self.folder, self.threads = chunks, folder, limits.threads
        row = 8 * chunks.words
        self.batch = max(1, min(_BATCH // row, chunks.count))
        self.range = max(1, min(chunks.count, (limits.memory - chunks.side_bytes) // row - 2 * self.batch))
        self.memory = chunks.side_bytes + (self.range + 2 * self.batch) * row

    def step(self, pool: ThreadPoolExecutor) -> int:
        """Find the next layer and add it to what was visited; the number of states in it."""
        folder = self.folder
        while folder.phase == "reach":
            first = folder.done
            end = min(first + self.range, self.chunks.count)
            folder.store_range(end, *self._reached(pool, first, end))
        if not folder.found:
            folder.finish()
            return 0
        for rows, new in folder.batches(folder.reached, self.batch):
            folder.visited.write(rows.start, folder.visited.read(rows.start, rows.stop) | new)
        folder.turn()
        return folder.layers[-1]

    def _reached(self, pool: ThreadPoolExecutor, first: int, end: int) -> tuple[NDArray[np.uint64], int]:
        """The new states among the targets first..end-1, as bits, and how many."""
        folder = self.folder
        bits = np.zeros((end - first, self.chunks.words), dtype=np.uint64)
        touched = folder.reached.flags
        touched[first:end] = 0
        shares = list(pairwise(np.linspace(first, end, self.threads + 1).astype(int).tolist()))
        for rows, last in folder.batches(folder.last, self.batch):
            sources = (rows.start + np.flatnonzero(folder.last.flags[rows])).astype(np.int32)
            for table in self.chunks.tables:
                suffix_of = (self.chunks.suffixes, self.chunks.odd_suffix)
                source, sink = (last, folder.last.flags, rows.start), (bits, touched, first)
                work = [
                    pool.submit(push, table.fields, suffix_of, (sources, only), source, sink, UNLISTED)
                    for only in shares
                ]
                for task in work:
                    task.result()
        found = 0
        for low in range(first, end, self.batch):
            high = min(low + self.batch, end)
            if touched[low:high].any():
                here = bits[low - first : high - first]
                found += int(settle(0, high - low, folder.visited.read(low, high), here, touched[low:high]))
        return bits, found

    def states(self) -> NDArray[np.int64]:
        """The states of the last layer, [states, n]."""
        found = []
        for rows, bits in self.folder.batches(self.folder.last, self.batch):
            flagged = np.flatnonzero(self.folder.last.flags[rows]).tolist()
            found += [self.chunks.states(rows.start + row, bits[row]) for row in flagged]
        return np.concatenate(found)

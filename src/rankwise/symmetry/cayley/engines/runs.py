# SPDX-License-Identifier: Apache-2.0
"""The frontier search with its layers in sorted files: for cosets, matrices and groups whose layers exceed the memory.

The neighbors of a layer are made in batches, sorted, and written as runs. Then all runs, and what is known, are read
together one range of states after the other, so that a range fits into memory: there repetitions go, and what is in the
last two layers if every edge goes both ways, else in the sorted file of all states. Finished layers are whole files; a
kill loses at most the layer that was being searched.
"""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rankwise.errors import CapacityError, CheckpointError
from rankwise.symmetry.cayley.engines.packing import packing
from rankwise.symmetry.cayley.engines.sorting import keep_new, merged, sort_rows
from rankwise.symmetry.cayley.engines.stored import RESTART, STATE, store_state, stored_state
from rankwise.symmetry.cayley.families.registry import Graph
from rankwise.symmetry.cayley.result import Growth, Layer, Limits

_LEAST = 2**26  # bytes of memory to work with
_COPIES = 4  # of a range's rows at once: as read, joined, sorted, and what is kept

Rows = NDArray[np.uint64]


class RunsEngine:
    """Sorted files of packed states; needs `Limits.disk`."""

    name = "runs"

    def refuses(self, graph: Graph) -> str | None:
        """Nothing is refused: every graph has a packing."""
        return None

    def memory(self, graph: Graph) -> int:
        """The least it can work with."""
        return _LEAST

    def grow(self, graph: Graph, limits: Limits) -> Growth:
        """Search, or go on where the folder's search was ended.

        Raises:
            CapacityError: if no folder is given or its disk is too full.
            CheckpointError: if the folder holds another search or a damaged one.
        """
        if limits.disk is None:
            raise CapacityError(f"The engine {self.name!r} keeps its layers in files; give a folder (disk).")
        began = time.perf_counter()
        search = _Search(graph, limits.disk, limits.memory)
        layers = search.layers
        for distance, size in enumerate(layers):
            limits.report(Layer(distance, size, sum(layers[: distance + 1]), 0.0))
        while not search.complete and (limits.max_layers is None or len(layers) <= limits.max_layers):
            if search.step():
                limits.report(Layer(len(layers) - 1, layers[-1], sum(layers), time.perf_counter() - began))
        small = layers[-1] <= limits.keep
        return Growth(
            title=graph.title,
            layers=tuple(layers),
            complete=search.complete,
            method=self.name,
            seconds=time.perf_counter() - began,
            memory=limits.memory,
            last_layer=search.packing.unpacked(search.read(search.last, 0, layers[-1])) if small else None,
        )


class _Search:
    """The files, and one step from a layer to the next."""

    def __init__(self, graph: Graph, folder: Path, memory: int) -> None:
        self.graph, self.folder, self.packing = graph, folder, packing(graph)
        self.row = 8 * self.packing.words
        self.room = max(1, memory // (_COPIES * self.row))  # rows that may be worked on at once
        self.layers, self.complete = [1], False
        if (folder / STATE).is_file():
            state = stored_state(folder, RunsEngine.name, graph, ("complete",))
            self.layers, self.complete = state["layers"], bool(state["complete"])
            for path, rows in self._needed():
                if not path.is_file() or path.stat().st_size != rows * self.row:
                    raise CheckpointError(f"{path} must be a file of {rows * self.row} bytes. {RESTART}")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            self._write(self.last, [self.packing.start()])
            if not graph.inverse_closed:
                self._write(self._known(0), [self.packing.start()])
            self._store()

    @property
    def last(self) -> Path:
        """The file of the last finished layer."""
        return self._layer(len(self.layers) - 1)

    def read(self, path: Path, first: int, end: int) -> Rows:
        """The rows first..end-1 of a file."""
        count = (end - first) * self.packing.words
        rows = np.fromfile(path, dtype=np.uint64, count=count, offset=first * self.row)
        return rows.reshape(-1, self.packing.words)

    def step(self) -> int:
        """Find the next layer; the number of states in it."""
        distance, both_ways = len(self.layers), self.graph.inverse_closed
        needed = {path for path, _ in self._needed()}
        for path in self.folder.glob("*.rows"):
            if path not in needed:
                path.unlink()
        runs = self._runs()
        known = sorted(needed - {self.last} if not both_ways else needed)
        found, total = self._layer(distance), 0
        files = [found] if both_ways else [found, self._known(distance)]
        with ExitStack() as opened:
            outputs = [opened.enter_context(path.with_suffix(".partial").open("wb")) for path in files]
            for new, old in self._ranges(runs, known):
                count = keep_new(new, *old)
                outputs[0].write(new[:count].data)
                if not both_ways:
                    outputs[1].write(merged(old[0], new[:count]).data)
                total += count
            for output in outputs:
                output.flush()
                os.fsync(output.fileno())
        for path in files:
            path.with_suffix(".partial").replace(path)
        for run in runs:
            run.unlink()
        self.complete = total == 0
        if total:
            self.layers.append(total)
        self._store()
        return total

    def _runs(self) -> list[Path]:
        """Write the neighbors of the last layer as sorted files without repetitions."""
        generators, states = self.packing.generators, self.layers[-1]
        wanted, free = generators * states * self.row, shutil.disk_usage(self.folder).free
        if wanted > free:
            raise CapacityError(
                f"{self.graph.title}: the neighbors of layer {len(self.layers) - 1} take up to {wanted / 1e9:.3g} GB, "
                f"and {self.folder} has {free / 1e9:.3g} GB free. Make room there and search again: it goes on."
            )
        batch = max(1, self.room // max(1, generators))
        runs, nothing = [], np.empty((0, self.packing.words), dtype=np.uint64)
        for first in range(0, states, batch):
            part = self.read(self.last, first, min(first + batch, states))
            moved = [self.packing.moved(part, generator) for generator in range(generators)]
            rows = np.concatenate([nothing, *moved])
            sort_rows(rows)
            runs.append(self.folder / f"run{len(runs)}.rows")
            self._write(runs[-1], [rows[: keep_new(rows, nothing, nothing)]])
        return runs

    def _ranges(self, runs: Sequence[Path], known: Sequence[Path]) -> Iterator[tuple[Rows, tuple[Rows, Rows]]]:
        """Sorted neighbors and known states, range by range of their first word."""
        columns = {path: self._first_words(path) for path in (*runs, *known)}
        total = sum(map(len, columns.values()))
        spacing = max(1, self.room // (4 * len(columns)))
        sample = np.sort(np.concatenate([column[::spacing] for column in columns.values()]))
        every = max(1, self.room // (2 * spacing))
        pivots = np.unique(sample[every::every]) if total > self.room else sample[:0]
        cuts = {path: [0, *np.searchsorted(column, pivots).tolist(), len(column)] for path, column in columns.items()}
        for number in range(len(pivots) + 1):
            together = sum(cut[number + 1] - cut[number] for cut in cuts.values())
            if together > self.room:
                raise CapacityError(
                    f"{self.graph.title}: {together} neighbors begin with the same 64 bits and need "
                    f"{_COPIES * together * self.row} bytes at once. Allow more memory and search again: it goes on."
                )
            parts = {path: self.read(path, cut[number], cut[number + 1]) for path, cut in cuts.items()}
            rows = np.concatenate([parts[path] for path in runs])
            sort_rows(rows)
            old = [parts[path] for path in known]
            yield rows, (old[0], old[1] if len(old) > 1 else old[0][:0])

    def _first_words(self, path: Path) -> Rows:
        """The first word of every row of a file, read where it is looked at."""
        if path.stat().st_size == 0:
            return np.empty(0, dtype=np.uint64)
        return np.memmap(path, dtype=np.uint64, mode="r").reshape(-1, self.packing.words)[:, 0]

    def _needed(self) -> list[tuple[Path, int]]:
        """The files that the search goes on from, and how many rows each has."""
        distance = len(self.layers) - 1
        files = [(self._layer(distance), self.layers[distance])]
        if not self.graph.inverse_closed:
            files.append((self._known(distance), sum(self.layers)))
        elif distance:
            files.append((self._layer(distance - 1), self.layers[distance - 1]))
        return files

    def _layer(self, distance: int) -> Path:
        return self.folder / f"layer{distance}.rows"

    def _known(self, distance: int) -> Path:
        return self.folder / f"known{distance}.rows"

    def _write(self, path: Path, parts: Sequence[Rows]) -> None:
        with path.open("wb") as file:
            for part in parts:
                file.write(np.ascontiguousarray(part).data)
            file.flush()
            os.fsync(file.fileno())

    def _store(self) -> None:
        store_state(self.folder, RunsEngine.name, self.graph, {"layers": self.layers, "complete": self.complete})

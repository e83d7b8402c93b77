# SPDX-License-Identifier: Apache-2.0
"""What a search on disk keeps: three bitmaps in files and a small JSON file that says how far it came.

The JSON file and the flags are replaced whole, after what they speak of is on the disk; a chunk whose flag is 0 is
empty whatever its bits in the file are.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rankwise.errors import CapacityError, CheckpointError
from rankwise.symmetry.cayley.engines.chunks import Chunks
from rankwise.symmetry.cayley.engines.stored import RESTART, STATE, replace_file, store_state, stored_state

_NAME = "disk"
_FIELDS = ("phase", "done", "found")


class Bitmap:
    """One bit for every permutation, in a file: rows of uint64, a flag for each row that has bits."""

    def __init__(self, path: Path, chunks: Chunks) -> None:
        self.path, self.shape = path, (chunks.count, chunks.words)
        self.flags = np.zeros(chunks.count, dtype=np.uint8)

    def create(self) -> None:
        """Make the file, all zeros, without writing them."""
        with self.path.open("wb") as file:
            file.truncate(8 * self.shape[0] * self.shape[1])
        self.store_flags()

    def load(self) -> None:
        """Check the file's size and read the flags.

        Raises:
            CheckpointError: if a file is missing or has another size.
        """
        for path, size in ((self.path, 8 * self.shape[0] * self.shape[1]), (self._flag_path, self.shape[0])):
            if not path.is_file() or path.stat().st_size != size:
                raise CheckpointError(f"{path} must be a file of {size} bytes. {RESTART}")
        self.flags[:] = np.fromfile(self._flag_path, dtype=np.uint8)

    def read(self, first: int, end: int) -> NDArray[np.uint64]:
        """The rows first..end-1."""
        count = (end - first) * self.shape[1]
        rows = np.fromfile(self.path, dtype=np.uint64, count=count, offset=8 * first * self.shape[1])
        return rows.reshape(end - first, self.shape[1])

    def write(self, first: int, rows: NDArray[np.uint64]) -> None:
        """Put rows into the file from row `first` on, and wait until the disk has them."""
        with self.path.open("r+b") as file:
            file.seek(8 * first * self.shape[1])
            file.write(rows.data)
            file.flush()
            os.fsync(file.fileno())

    def store_flags(self) -> None:
        """Replace the flags' file."""
        replace_file(self._flag_path, self.flags.tobytes())

    @property
    def _flag_path(self) -> Path:
        return self.path.with_suffix(".flags")


class Folder:
    """A search on disk.

    Attributes:
        layers: number of states at each distance found so far.
        phase: "reach" while the next layer is being found, "add" while it is added to the visited,
            "empty" if there is none, "complete".
        done: first target chunk that is not yet searched for the next layer.
        found: states of the next layer found so far.
    """

    def __init__(self, path: Path, chunks: Chunks) -> None:
        self.path, self.chunks = path, chunks
        self.visited = Bitmap(path / "visited.bits", chunks)
        self._turns = [Bitmap(path / "layer0.bits", chunks), Bitmap(path / "layer1.bits", chunks)]
        self.layers, self.phase, self.done, self.found = [1], "reach", 0, 0

    @classmethod
    def opened(cls, path: Path, chunks: Chunks) -> "Folder":
        """The search that a folder holds, or a new one in it.

        Raises:
            CapacityError: if the disk is too full.
            CheckpointError: if the folder holds the search of another graph, or a damaged one.
        """
        folder = cls(path, chunks)
        if (path / STATE).is_file():
            folder._load()
            return folder
        path.mkdir(parents=True, exist_ok=True)
        needed, free = 3 * chunks.bitmap_bytes, shutil.disk_usage(path).free
        if needed > free:
            raise CapacityError(
                f"{chunks.graph.title} needs {needed / 1e9:.3g} GB on disk and {path} has {free / 1e9:.3g} GB free. "
                "Give a folder on a larger disk."
            )
        for bitmap in (folder.visited, *folder._turns):
            bitmap.create()
        start = np.zeros((1, chunks.words), dtype=np.uint64)
        start[0, 0] = 1
        for bitmap in (folder.visited, folder.last):
            bitmap.flags[chunks.home] = 1
            bitmap.write(chunks.home, start)
            bitmap.store_flags()
        folder._store()
        return folder

    @property
    def last(self) -> Bitmap:
        """The last finished layer."""
        return self._turns[(len(self.layers) - 1) % 2]

    @property
    def reached(self) -> Bitmap:
        """The next layer."""
        return self._turns[len(self.layers) % 2]

    @property
    def complete(self) -> bool:
        """Whether every state was found."""
        return self.phase == "complete"

    def batches(self, bitmap: Bitmap, rows: int) -> Iterator[tuple[slice, NDArray[np.uint64]]]:
        """The rows of a bitmap, so many at once; stretches without bits are left out, empty rows are zeros."""
        for first in range(0, self.chunks.count, rows):
            here = slice(first, min(first + rows, self.chunks.count))
            if bitmap.flags[here].any():
                bits = bitmap.read(here.start, here.stop)
                bits[bitmap.flags[here] == 0] = 0
                yield here, bits

    def store_range(self, end: int, bits: NDArray[np.uint64], found: int) -> None:
        """Keep the next layer's bits for the chunks done..end-1."""
        if found:
            self.reached.write(self.done, bits)
        self.reached.store_flags()
        self.done, self.found = end, self.found + found
        if end == self.chunks.count and self.found:
            self.phase = "add"
        elif end == self.chunks.count:
            self.phase = "empty"
        self._store()

    def turn(self) -> None:
        """Make the next layer the last one."""
        self.layers.append(self.found)
        self.phase, self.done, self.found = "reach", 0, 0
        self._store()

    def finish(self) -> None:
        """Note that there is no further layer; what was visited is no longer needed."""
        self.phase = "complete"
        self._store()
        for bitmap in (self.visited, self.reached):
            bitmap.path.unlink()

    def _store(self) -> None:
        state = {"layers": self.layers, "phase": self.phase, "done": self.done, "found": self.found}
        store_state(self.path, _NAME, self.chunks.graph, state)

    def _load(self) -> None:
        state = stored_state(self.path, _NAME, self.chunks.graph, _FIELDS)
        self.layers, self.phase, self.done, self.found = (state[field] for field in ("layers", *_FIELDS))
        self.last.load()
        self._check(self.last, self.layers[-1])
        if not self.complete:
            self.visited.load()
            self.reached.load()
            if self.phase == "reach":
                self._check(self.visited, sum(self.layers))

    def _check(self, bitmap: Bitmap, expected: int) -> None:
        rows = max(1, 2**25 // (8 * self.chunks.words))
        bits = (
            (bitmap.read(first, min(first + rows, self.chunks.count)) for first in range(0, self.chunks.count, rows))
            if bitmap is self.visited
            else (batch for _, batch in self.batches(bitmap, rows))
        )
        counted = sum(int(np.bitwise_count(batch).sum()) for batch in bits)
        if counted != expected:
            raise CheckpointError(f"{bitmap.path} is damaged: {counted} bits for {expected} states. {RESTART}")

# SPDX-License-Identifier: Apache-2.0
"""States as sortable keys: the whole state in as few bits as its letters need, so that equal keys are equal states.

A letter below 2^b takes b bits. Keys are unsigned 64-bit words where one is enough and byte strings of several words
otherwise; both sort and compare as numbers do, and `unpack` gives the states back. No hashes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.families.registry import Graph
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.permutations import integers

State = Sequence[int] | Sequence[Sequence[int]] | NDArray[np.integer]
_WORD = 64


class StateKeys:
    """Packs the states that can be reached from one state of a graph.

    Args:
        graph: whose states.
        start: a state, by which letters and shape are known; None is the graph's start.

    Raises:
        SymmetryError: if the start is no state of the graph.
    """

    def __init__(self, graph: Graph, start: State | None = None) -> None:
        self.graph = graph
        self.start = self._checked(graph.start_states[0] if start is None else start)
        largest = int(self.start.max()) if isinstance(graph, PermutationGraph) else graph.modulus and graph.modulus - 1
        self._bits = _WORD if largest is None else max(1, largest.bit_length())
        self._dtype = np.dtype(np.int64)
        if isinstance(graph, PermutationGraph):
            self._dtype = np.min_scalar_type(int(self.start.max()))
        self._each = _WORD // self._bits  # letters in a word
        self._words = -(-self.start.size // self._each)

    @property
    def key_bytes(self) -> int:
        """Bytes of a key."""
        return 8 * self._words

    @property
    def state_bytes(self) -> int:
        """Bytes of an unpacked state."""
        return self.start.size * self._dtype.itemsize

    def key(self, state: State) -> NDArray[np.generic]:
        """The key of one state, as an array of one.

        Raises:
            SymmetryError: if its shape or its letters are not those of the start, so that no path leads there.
        """
        array = self._checked(state)
        if array.shape != self.start.shape:
            raise SymmetryError(f"A state has the shape {self.start.shape}, got one of shape {array.shape}.")
        if isinstance(self.graph, PermutationGraph) and not np.array_equal(np.sort(array), np.sort(self.start)):
            raise SymmetryError(
                f"{array.tolist()} has other letters than {self.start.tolist()}; generators only move letters."
            )
        return self.pack(array[None])

    def pack(self, states: NDArray[np.integer]) -> NDArray[np.generic]:
        """Keys of states [states, ...], in their order."""
        rows = states.reshape(len(states), self.start.size)
        words = np.zeros((len(rows), self._words), dtype=np.uint64)
        for entry in range(self.start.size):
            word = words[:, entry // self._each]
            if self._bits < _WORD:
                word <<= np.uint64(self._bits)
            word |= rows[:, entry].astype(np.uint64)
        return words[:, 0] if self._words == 1 else words.astype(">u8").view(f"S{self.key_bytes}")[:, 0]

    def unpack(self, keys: NDArray[np.generic]) -> NDArray[Any]:
        """States [keys, ...] of keys, in their order; letters as integers no longer than they need."""
        words = np.ascontiguousarray(keys)[:, None]
        words = (words if self._words == 1 else words.view(">u8")).astype(np.uint64)
        rows = np.empty((len(keys), self.start.size), dtype=self._dtype)
        mask = np.uint64(2**self._bits - 1)
        for entry in range(self.start.size):
            word, place = divmod(entry, self._each)
            last = min(self._each, self.start.size - word * self._each) - 1
            rows[:, entry] = ((words[:, word] >> np.uint64((last - place) * self._bits)) & mask).astype(self._dtype)
        return rows.reshape(-1, *self.start.shape)

    def _checked(self, state: State) -> NDArray[np.int64]:
        if not isinstance(self.graph, PermutationGraph):
            return self.graph.checked(state)  # type: ignore[arg-type]
        letters = integers(state, "the state")  # type: ignore[arg-type]
        if len(letters) != self.graph.size or min(letters) < 0:
            raise SymmetryError(f"A state has {self.graph.size} letters, integers from 0; got {letters}.")
        return np.array(letters, dtype=np.int64)


def distinct(keys: NDArray[np.generic]) -> NDArray[np.generic]:
    """The keys in order, each once: by sorting, which is many times faster here than numpy's `unique`, which hashes."""
    ordered = np.sort(keys)
    return ordered[np.concatenate([np.ones(min(1, len(ordered)), dtype=np.bool_), ordered[1:] != ordered[:-1]])]


def contained(keys: NDArray[np.generic], ordered: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Which of `keys` stand in the sorted array `ordered`."""
    if not len(ordered):
        return np.zeros(len(keys), dtype=np.bool_)
    places = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    return ordered[places] == keys

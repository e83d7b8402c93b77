# SPDX-License-Identifier: Apache-2.0
"""Matrices by the entries that can change, each in as many bits as the modulus needs, or in a word without one.

The zeros and ones that no generator ever changes, as below the diagonal of unitriangular matrices, are not stored.
"""

import numpy as np
from numpy.typing import NDArray

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.engines.fields import WORD, Fields
from rankwise.symmetry.cayley.engines.moving import multiplied
from rankwise.symmetry.cayley.matrices import MatrixGraph


class EntryPacking:
    """Matrix entries side by side.

    Args:
        graph: whose states.
    """

    def __init__(self, graph: MatrixGraph) -> None:
        self._modulus = graph.modulus or 0
        self._start = graph.start_states[0]
        identity = np.eye(graph.size, dtype=np.int64)
        moves = [move for move in np.unique(graph.moves, axis=0) if (move != identity).any()]
        self.free = _free(moves, self._start, self._modulus)
        entries = int(self.free.sum())
        self.fields = Fields.of([(self._modulus - 1).bit_length() if self._modulus else WORD] * entries)
        self.words = self.fields.words
        self.generators = len(moves)
        self.order: int | None = self._modulus**entries if self._modulus or not entries else None
        self._fields = self.fields.table
        self._sums = [self._products(move) for move in moves]
        self._largest = [int(np.abs(move).max()) * graph.size for move in moves]

    def _products(self, move: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Products, ends and constants (moving.multiplied) of a generator."""
        numbers = np.cumsum(self.free).reshape(self.free.shape) - 1
        products, ends, constants = [], [], []
        for row, column in zip(*np.nonzero(self.free), strict=True):
            constant = 0
            for inner in np.flatnonzero(move[row]):
                if self.free[inner, column]:
                    products.append((int(move[row, inner]), int(numbers[inner, column])))
                else:
                    constant += int(move[row, inner]) * int(self._start[inner, column])
            constants.append(constant)
            ends.append(len(products))
        as_array = np.array(products, dtype=np.int64).reshape(-1, 2)
        return as_array, np.array(ends, dtype=np.int64), np.array(constants, dtype=np.int64)

    def start(self) -> NDArray[np.uint64]:
        """The start, [1, W]."""
        return self.packed(self._start[None])

    def packed(self, matrices: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Matrices of which the entries that never change are those of the start, [m, n, k] -> [m, W]."""
        return self.fields.packed(matrices[:, self.free])

    def moved(self, states: NDArray[np.uint64], generator: int) -> NDArray[np.uint64]:
        """One generator applied to every state: [m, W] -> [m, W].

        Raises:
            SymmetryError: if there is no modulus and an entry could leave 64 bits.
        """
        if not self._modulus and states.size:
            signed = states.view(np.int64)
            largest = max(int(signed.max()), -int(signed.min()), int(np.abs(self._start).max()))
            if largest * self._largest[generator] >= 2**63:
                raise SymmetryError("An entry would leave 64 bits; give a modulus, or fewer layers (max_layers).")
        return multiplied(states, self._fields, *self._sums[generator], self._modulus)

    def unpacked(self, states: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The matrices, [m, W] -> [m, n, k]."""
        matrices = np.tile(self._start, (len(states), 1, 1))
        matrices[:, self.free] = self.fields.unpacked(states)
        return matrices


def _free(moves: list[NDArray[np.int64]], start: NDArray[np.int64], modulus: int) -> NDArray[np.bool_]:
    """Which entries some path of generators changes; those that stay give the start back by themselves."""
    free = np.zeros(start.shape, dtype=np.bool_)
    while True:
        changed = free.copy()
        for move in moves:
            sums = move @ start
            if modulus:
                sums %= modulus
            changed |= (sums != start) | ((move != 0) @ free)
        if (changed == free).all():
            return free
        free = changed

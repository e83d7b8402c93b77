# SPDX-License-Identifier: Apache-2.0
"""Numbers 0..p^3-p-1 for the 2 x 2 matrices of determinant 1 modulo a prime p, the group SL_2(p).

With rows (a, b) and (c, d): if a is not 0 then b and c are free and d = (1 + b c) / a; if a = 0 then b is not 0,
c = -1 / b, and d is free.
"""

from math import isqrt

import numpy as np
from numpy.typing import NDArray

from rankwise.symmetry.cayley.engines.entries import EntryPacking
from rankwise.symmetry.cayley.matrices import MatrixGraph, exact_determinant

_LARGEST = 2**16  # p; more than 2^48 states are beyond any memory


class DeterminantRanking:
    """Numbers of the elements of SL_2(p).

    Args:
        packed: of a graph that `fits`.
        modulus: p.
    """

    def __init__(self, packed: EntryPacking, modulus: int) -> None:
        self.packing, self._modulus = packed, modulus
        self.count = modulus**3 - modulus
        self._inverses = np.array([0, *(pow(entry, -1, modulus) for entry in range(1, modulus))], dtype=np.int64)

    def ranks(self, states: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Numbers of matrices, [m, W] -> [m]."""
        p = self._modulus
        a, b, c, d = self.packing.fields.unpacked(states).T
        return np.where(a > 0, ((a - 1) * p + b) * p + c, ((p - 1) * p + b - 1) * p + d)

    def states(self, ranks: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Matrices of numbers, [m] -> [m, W]."""
        p = self._modulus
        rest, last = np.divmod(ranks, p)
        a, b = np.divmod(rest, p)
        a += 1
        zero = a == p
        a[zero] = 0
        b[zero] += 1
        c = np.where(zero, -self._inverses[b] % p, last)
        d = np.where(zero, last, (1 + b * c) * self._inverses[a] % p)
        return self.packing.fields.packed(np.stack([a, b, c, d], axis=1))


def fits(graph: MatrixGraph, packed: EntryPacking) -> bool:
    """Whether a graph's states are 2 x 2 matrices of determinant 1 modulo a prime, every entry free to change."""
    p = graph.modulus
    if p is None or p > _LARGEST or packed.free.shape != (2, 2) or not packed.free.all():
        return False
    prime = all(p % divisor for divisor in range(2, isqrt(p) + 1))
    matrices = [*graph.generators, packed.unpacked(packed.start())[0].tolist()]
    return prime and all(exact_determinant(matrix) % p == 1 for matrix in matrices)

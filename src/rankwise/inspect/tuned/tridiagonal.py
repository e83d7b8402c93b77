# SPDX-License-Identifier: Apache-2.0
"""The left singular vectors of a matrix as eigenvectors of a tridiagonal one, from the smaller of its Gram matrices.

    out <= in:  W W^T = Q T Q^T,                  u_i = Q z_i,                 <x, u_i> = <z_i, Q^T x>
    out >  in:  W^T W = Q T Q^T,  T = L D L^T,    u_i = W Q L^-T D^-1/2 z_i,   <x, u_i> = <z_i, D^-1/2 L^-1 Q^T W^T x>

with T z_i = s_i^2 z_i, in the second case for D^1/2 L^T L D^1/2 in place of T, which is tridiagonal as well. The
reduction to T (Householder) is two thirds of what a few leading eigenvectors cost, T then gives any of them in O(n),
all of them in O(n^2), and the multiplication of a vector by T is nearly free. A Krylov method was measured slower on
transformers' weights, whose leading singular values lie close together.

A Gram matrix squares the condition: the caller says in which dtype it is to be trusted.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.linalg import eigh_tridiagonal, get_lapack_funcs, solve_banded

from rankwise.inspect.tuned.lapack import Reduced, gram_matrix, reduced


@dataclass(frozen=True)
class Tridiagonal:
    """A matrix W [out, in] in the coordinates in which its left singular vectors belong to a tridiagonal matrix.

    Attributes:
        gram: [n, n], n = min(out, in); W W^T or W^T W, of which only the lower triangle is filled.
        tall: whether out > in.
        diagonal: [n], of the tridiagonal matrix.
        off: [n - 1], beside the diagonal.
        turned: Q, as the Gram matrix's reduction holds it.
        lower: L beside its diagonal of ones and D, for a tall matrix.
    """

    gram: Float[ndarray, "n n"]
    tall: bool
    diagonal: Float[ndarray, " n"]
    off: Float[ndarray, " m"]
    turned: Reduced
    lower: tuple[ndarray, ndarray] | None

    def coordinates(self, small: Float[ndarray, "n k"]) -> Float[ndarray, "n k"]:
        """Vectors x in these coordinates.

        Args:
            small: x itself, or W^T x for a tall matrix, one a column.
        """
        turned = self.turned.times(small, transposed=True)
        if self.lower is None:
            return turned
        below, pivots = self.lower
        bands = np.ones((2, len(pivots)), pivots.dtype)
        bands[1, :-1] = below
        return solve_banded((1, 0), bands, turned, check_finite=False) / np.sqrt(pivots)[:, None]

    def leading(self, count: int) -> tuple[Float[ndarray, " count"], Float[ndarray, "n count"]]:
        """The largest `count` singular values and their vectors in these coordinates."""
        return largest(self.diagonal, self.off, count)


def largest(
    diagonal: Float[ndarray, " n"], off: Float[ndarray, " m"], count: int
) -> tuple[Float[ndarray, " count"], Float[ndarray, "n count"]]:
    """The roots of the largest `count` eigenvalues of a tridiagonal matrix, descending, and their vectors."""
    size = len(diagonal)
    if count >= size:
        values, vectors = eigh_tridiagonal(diagonal, off, check_finite=False)
    else:
        chosen = (size - count, size - 1)
        values, vectors = eigh_tridiagonal(diagonal, off, select="i", select_range=chosen, check_finite=False)
    return np.sqrt(np.maximum(values[::-1], 0)), vectors[:, ::-1]


def tridiagonal(matrix: Float[ndarray, "out in"]) -> Tridiagonal | None:
    """Reduce a matrix; None if it is tall and, in its dtype, of no full rank.

    Args:
        matrix: in the dtype in which all is computed.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    gram = gram_matrix(matrix, tall)
    turned = reduced(gram)
    diagonal, off = turned.diagonal, turned.off
    if not tall:
        return Tridiagonal(gram, tall, diagonal, off, turned, None)
    (pttrf,) = get_lapack_funcs(("pttrf",), (gram,))
    pivots, below, info = pttrf(diagonal, off)
    if info != 0 or pivots.min() <= len(gram) * np.finfo(gram.dtype).eps * pivots.max():
        return None
    swapped = pivots.copy()
    swapped[:-1] *= 1 + below * below
    beside = np.sqrt(pivots[:-1] * pivots[1:]) * below
    return Tridiagonal(gram, tall, swapped, beside, turned, (below, pivots))

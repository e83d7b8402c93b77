# SPDX-License-Identifier: Apache-2.0
"""Lower-diagonal-upper factors of a matrix by Gaussian elimination with row pivoting, in float64.

    M = left diag(d) right,   left = P L [out, k],   d [k],   right [k, in],   k = min(out, in)

L is unit lower triangular with entries of at most 1 and right is unit upper triangular. P is never built: it has been
applied to `left`, whose rows are in the order of M's rows, and the order of elimination is a list of row numbers. No
sign and no rotation is left open, so the same matrix with the same order of rows gives the same factors.

Golub and Van Loan, Matrix Computations, section 3.4. Does not pivot columns and does not rank the components.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

TINY = 1e-4
_STEEPEST, _RANGE = 0.5, 2.0**-900


class LDU(NamedTuple):
    """Factors of one matrix or of each one in a stack.

    Attributes:
        left: P L; its rows taken in the order `rows` are unit lower triangular.
        d: the pivots in the order of elimination, which is no order of size.
        right: unit upper triangular.
        rows: the row numbers in the order of elimination.
    """

    left: Float[Tensor, "*batch out k"]
    d: Float[Tensor, "*batch k"]
    right: Float[Tensor, "*batch k in"]
    rows: Int[Tensor, "*batch out"]


def ldu(matrix: Float[Tensor, "*batch out in"], first: Int[Tensor, "*batch r"] | None = None) -> LDU:
    """Factor a matrix, or each one of a stack.

    A pivot below TINY times the largest one would blow up its row of `right` = upper / d. Such a component is left out:
    its column, pivot and row are zero, and left diag(d) right lacks it.

    Args:
        matrix: one matrix or a stack.
        first: distinct rows to eliminate first, in this order, whatever their entries: the order that an almost equal
            matrix had, where near-ties could fall out differently. Kept unless an entry of L would be far above 1;
            the `rows` of the answer say what was done.

    Returns:
        The factors in float64.
    """
    matrix = matrix.double()
    out, k = matrix.shape[-2], min(matrix.shape[-2:])
    first = torch.empty(*matrix.shape[:-2], 0, dtype=torch.int64, device=matrix.device) if first is None else first
    given = _all_rows(first, out)
    grade = _grades(first.shape[-1], out).to(matrix.device)
    graded = matrix.gather(-2, given[..., None].expand_as(matrix)) * grade[:, None]
    packed, pivots, _ = torch.linalg.lu_factor_ex(graded)
    swapped = _permutation(pivots, out)
    grade, rows = grade[swapped], given.gather(-1, swapped)
    ungraded = packed / grade[..., None]
    unit = torch.eye(out, k, dtype=packed.dtype, device=packed.device)
    lower = ungraded[..., :k].tril(-1) * grade[..., None, :k] + unit
    upper = ungraded[..., :k, :].triu()
    d = upper.diagonal(dim1=-2, dim2=-1)
    large = d.abs() > TINY * d.abs().amax(-1, keepdim=True)
    left = torch.where(large[..., None, :], lower, 0.0).gather(-2, rows.argsort(-1)[..., None].expand_as(lower))
    right = torch.where(large[..., None], upper / d[..., None], 0.0)
    return LDU(left, torch.where(large, d, 0.0), right, rows)


def _all_rows(first: Int[Tensor, "*batch r"], out: int) -> Int[Tensor, "*batch out"]:
    """The rows in `first`, then all others in their own order."""
    key = torch.arange(out, 2 * out, device=first.device).expand(*first.shape[:-1], out)
    return key.scatter(-1, first, torch.arange(first.shape[-1], device=first.device).expand_as(first)).argsort(-1)


def _grades(count: int, out: int) -> Float[Tensor, " out"]:
    """Weights t^0, t^1, ..., t^count, t^count, ... that make row pivoting prefer the rows in the order they stand in.

    Grading the rows by S turns the factors (L, U) into (S L / S, S U). Below the diagonal, entry (i, j) of L shrinks by
    t^(i - j), so a row keeps its place as long as no entry of L exceeds 1 by more than that.
    """
    steepness = max(_STEEPEST, _RANGE ** (1 / max(count, 1)))
    return steepness ** torch.arange(out, dtype=torch.float64).clamp_max(count)


def _permutation(pivots: Int[Tensor, "*batch k"], out: int) -> Int[Tensor, "*batch out"]:
    """LAPACK's k row swaps, made one after the other at setup, as an order of rows; no [out, out] matrix."""
    orders = []
    for swaps in pivots.reshape(-1, pivots.shape[-1]).tolist():
        order = list(range(out))
        for i, j in enumerate(swaps):
            order[i], order[j - 1] = order[j - 1], order[i]
        orders.append(order)
    return torch.tensor(orders, device=pivots.device).reshape(*pivots.shape[:-1], out)

# SPDX-License-Identifier: Apache-2.0
"""Singular value decompositions, always in float32 or wider, of a matrix or of a product of two factors.

M = u diag(s) v,   u [out, r], s [r] descending, v [r, in]
"""

import torch
from jaxtyping import Float
from torch import Tensor


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype a decomposition runs in: float64 for float64, float32 for everything else."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def svd(
    matrix: Float[Tensor, "*batch out in"], rank: int | None = None
) -> tuple[Float[Tensor, "*batch out r"], Float[Tensor, "*batch r"], Float[Tensor, "*batch r in"]]:
    """The leading singular vectors and values of a matrix.

    Args:
        matrix: one matrix or a stack.
        rank: how many to keep; None keeps all min(out, in).

    Returns:
        u, s and v with matrix ~ u diag(s) v; exact when nothing is cut off.
    """
    u, s, v = torch.linalg.svd(matrix.to(wide(matrix.dtype)), full_matrices=False)
    return u[..., :rank], s[..., :rank], v[..., :rank, :]


def svd_of_product(
    left: Float[Tensor, "*batch out k"], right: Float[Tensor, "*batch k in"]
) -> tuple[Float[Tensor, "*batch out r"], Float[Tensor, "*batch r"], Float[Tensor, "*batch r in"]]:
    """The singular value decomposition of left @ right without the product, r = min(out, k, in).

    left = Q1 R1, right^T = Q2 R2, svd(R1 R2^T) = (u, s, v): the answer is (Q1 u, s, v Q2^T). It costs
    O((out + in) k^2) instead of O(out in min(out, in)).
    """
    q1, r1 = torch.linalg.qr(left.to(wide(left.dtype)))
    q2, r2 = torch.linalg.qr(right.mT.to(wide(right.dtype)))
    u, s, v = torch.linalg.svd(r1 @ r2.mT, full_matrices=False)
    return q1 @ u, s, v @ q2.mT

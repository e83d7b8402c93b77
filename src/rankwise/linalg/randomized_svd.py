# SPDX-License-Identifier: Apache-2.0
"""The leading singular vectors of a matrix from its action on a few random vectors.

    Q = orth((M M^T)^4 M G),   svd(Q^T M) = (u, s, v),   M ~ (Q u) diag(s) v,   G [in, q] normal, q = 2 rank

An approximation whose error falls with the gaps of the spectrum; O(out in q) instead of O(out in min(out, in)).
Halko, Martinsson and Tropp 2009, arXiv 0909.4061, with orthogonalization after every product.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from rankwise.linalg.svd import wide

_SWEEPS = 4


def randomized_svd(
    matrix: Float[Tensor, "out in"], rank: int, generator: torch.Generator
) -> tuple[Float[Tensor, "out r"], Float[Tensor, " r"], Float[Tensor, "r in"]]:
    """About the `rank` leading singular vectors and values of a matrix.

    Args:
        matrix: the matrix.
        rank: how many to keep, at most min(out, in).
        generator: a CPU generator for the random vectors.

    Returns:
        u, s and v with matrix ~ u diag(s) v; exact if twice the rank reaches min(out, in).
    """
    matrix = matrix.to(wide(matrix.dtype))
    width = min(2 * rank, *matrix.shape)
    random = torch.randn(matrix.shape[1], width, generator=generator).to(matrix)
    basis = torch.linalg.qr(matrix @ random)[0]
    for _ in range(_SWEEPS):
        basis = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.t() @ basis)[0])[0]
    u, s, v = torch.linalg.svd(basis.t() @ matrix, full_matrices=False)
    return basis @ u[:, :rank], s[:rank], v[:rank]

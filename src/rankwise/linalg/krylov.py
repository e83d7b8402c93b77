# SPDX-License-Identifier: Apache-2.0
"""The largest eigenvalues of a symmetric matrix and their vectors, without the others.

A block of random columns is multiplied by the matrix again and again, each product orthogonalized against all before;
on the space they span (a block Krylov space) the eigenproblem is small. Its answers are taken only once every residual
||M v - w v|| is below 1e-7 w; a matrix that is small, or whose spectrum is too flat for that, is decomposed as a whole.
Block Lanczos: Golub and Underwood 1977. For matrices without negative eigenvalues, such as Gram matrices.
"""

import torch
from jaxtyping import Float
from torch import Tensor

_SHARE = 0.5  # columns of a block, as a share of the vectors asked for
_SIZES = (6, 8, 10, 13)  # sizes of the space at which the answers are looked at, likewise
_RESIDUAL = 1e-7
_SMALL = 500  # below, the whole decomposition takes no longer


def leading_eigenvectors(
    matrix: Float[Tensor, "n n"], count: int
) -> tuple[Float[Tensor, " count"], Float[Tensor, "count n"]]:
    """The `count` largest eigenvalues, in descending order, and their vectors as rows.

    Args:
        matrix: symmetric, float64, no eigenvalue below zero but for rounding.
        count: how many, at most n.

    Returns:
        The eigenvalues and the orthonormal vectors.
    """
    if len(matrix) >= max(_SMALL, 3 * _SIZES[1] * count):
        found = _from_krylov_space(matrix, count)
        if found is not None:
            return found
    values, vectors = torch.linalg.eigh(matrix)
    return values[-count:].flip(0), vectors[:, -count:].flip(1).t()


def _from_krylov_space(matrix: Tensor, count: int) -> tuple[Tensor, Tensor] | None:
    width = max(8, round(_SHARE * count))
    looks = [-(-size * count // width) for size in _SIZES]
    start = torch.randn(len(matrix), width, generator=torch.Generator().manual_seed(0), dtype=matrix.dtype)
    block = torch.linalg.qr(start.to(matrix.device))[0]
    basis = torch.empty(len(matrix), width * looks[-1], dtype=matrix.dtype, device=matrix.device)
    products = torch.empty_like(basis)
    for depth in range(1, looks[-1] + 1):
        used = depth * width
        basis[:, used - width : used] = block
        products[:, used - width : used] = block = matrix @ block
        if depth in looks:
            found = _ritz(basis[:, :used], products[:, :used], count)
            if found is not None:
                return found
        for _ in range(2):  # the second time takes out what rounding left of the first
            block = torch.linalg.qr(block - basis[:, :used] @ (basis[:, :used].t() @ block))[0]
    return None


def _ritz(basis: Tensor, products: Tensor, count: int) -> tuple[Tensor, Tensor] | None:
    """The largest eigenpairs on the span of `basis`, None if they are not yet those of the matrix."""
    small = basis.t() @ products
    values, inner = torch.linalg.eigh((small + small.t()) / 2)
    values, inner = values[-count:].flip(0), inner[:, -count:].flip(1)
    vectors = basis @ inner
    residual = torch.linalg.vector_norm(products @ inner - vectors * values, dim=0)
    return (values, vectors.t()) if bool((residual <= _RESIDUAL * values).all()) else None

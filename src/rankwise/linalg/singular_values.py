# SPDX-License-Identifier: Apache-2.0
"""All singular values of a matrix or of a product of two factors, without their singular vectors.

    s = sqrt(eig(M M^T)),   the Gram matrix of the smaller side, in float64

For entries of float32 or less this is both faster and more accurate than an SVD in float32: squaring loses half the
digits of float64, about 1e-8 of the largest value for the smallest ones, where float32 itself loses 1e-7 of it. A
matrix in float64 gets an SVD. The products are summed over blocks, so the matrix is never copied to float64 whole.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from rankwise.linalg.svd import wide

_BLOCK = 1 << 22  # entries converted to float64 at a time


def singular_values(matrix: Float[Tensor, "out in"]) -> Float[Tensor, " m"]:
    """The min(out, in) singular values in descending order, in float64."""
    if matrix.dtype == torch.float64:
        return torch.linalg.svdvals(matrix)
    return _roots(gram(matrix))


def gram(matrix: Float[Tensor, "out in"]) -> Float[Tensor, "m m"]:
    """M M^T or M^T M, whichever is smaller, in float64."""
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.mT
    rows = max(1, _BLOCK // tall.shape[1])
    total = torch.zeros(tall.shape[1], tall.shape[1], dtype=torch.float64, device=matrix.device)
    for block in tall.split(rows):
        wider = block.to(wide(matrix.dtype)).double()
        total.addmm_(wider.mT, wider)
    return total


def singular_values_of_product(left: Float[Tensor, "out k"], right: Float[Tensor, "k in"]) -> Float[Tensor, " m"]:
    """The min(out, k, in) singular values of left @ right in descending order, without the product if k is small.

    left = Q R gives those of R right, k x in, in O((out + in) k^2); in float64 right^T = Q2 R2 as well, so those of
    R R2^T, k x k. The product is formed where it is no larger than that. The values are in float64.
    """
    small = left.shape[1] < min(left.shape[0], right.shape[1])
    if left.dtype != torch.float64 or right.dtype != torch.float64:
        left, right = left.double(), right.double()
        product = (torch.linalg.qr(left, mode="r")[1] if small else left) @ right
        return _roots(gram(product))
    if not small:
        return torch.linalg.svdvals(left @ right)
    first, second = (torch.linalg.qr(factor, mode="r")[1] for factor in (left, right.mT))
    return torch.linalg.svdvals(first @ second.mT)


def _roots(squares: Float[Tensor, "m m"]) -> Float[Tensor, " m"]:
    return torch.linalg.eigvalsh(squares).clamp(min=0).sqrt().flip(0)

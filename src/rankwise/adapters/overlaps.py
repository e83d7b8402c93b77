# SPDX-License-Identifier: Apache-2.0
"""How far a group of low-rank products is from orthogonal to a weight and to each other, without building a product.

||W0 D_i^T|| from (W0 A_i^T) B_i^T,   ||D_i D_j^T|| from B_i (A_i A_j^T) B_j^T,   D_i = B_i A_i
"""

import torch
from jaxtyping import Float
from torch import Tensor


def absolute(base: Tensor, left: Tensor, right: Tensor) -> Float[Tensor, "2"]:
    """Sums of absolute values of W0 D_i^T and of D_i D_j^T, for left [*, N, out, r] and right [*, N, r, in]."""
    preserve = (base @ right.mT @ left.mT).abs().sum()
    (left_i, right_i), (left_j, right_j) = _pairs(left, right)
    return torch.stack([preserve, (left_i @ (right_i @ right_j.mT) @ left_j.mT).abs().sum()])


def squared(base: Tensor, left: Tensor, right: Tensor) -> Float[Tensor, "2"]:
    """Sums of squares of the same, ||P B^T||^2 = <P^T P, B^T B>: products of r x r matrices."""
    inner, gram = base @ right.mT, left.mT @ left
    preserve = (inner.mT @ inner * gram).sum()
    (gram_i, right_i), (gram_j, right_j) = _pairs(gram, right)
    across = right_i @ right_j.mT
    return torch.stack([preserve, (gram_i @ across * (across @ gram_j)).sum()])


def _pairs(left: Tensor, right: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The members i and the members j of all pairs i < j."""
    members = left.shape[-3]
    chosen = torch.triu_indices(members, members, 1, device=left.device)
    return [(left[..., one, :, :], right[..., one, :, :]) for one in chosen]

# SPDX-License-Identifier: Apache-2.0
"""Train the length and the direction of each weight row apart: a free length, a low-rank change of the direction.

    W = m V / ||V||,   V = W0 + s left right,   m [out] trainable, ||W0|| at the start,   s = alpha / rank

The magnitude, the norm, which comes from the factors without V, and the rescaling are those of
`rankwise.adapters.decomposed`; the convolution variants share them. The bias is not scaled.

DoRA: Liu et al. 2024, arXiv 2402.09353; its section 4.3 treats the norm as a constant in the backward pass. Dropout
acts on the input of the low-rank branch alone, so that the base is computed once. Does not choose ranks by itself.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rankwise.adapters.decomposed import Decomposed
from rankwise.core.adapter import kaiming_uniform
from rankwise.core.lowrank import Product
from rankwise.core.method import LowRank, register
from rankwise.core.targets import Target


@register
@dataclass(frozen=True)
class DoRA(LowRank):
    """Weight-decomposed low-rank adaptation, W = m V / ||V|| with V = W0 + (alpha / rank) left right.

    Attributes:
        rank: inner dimension of the product.
        alpha: scale of the product; it is multiplied by alpha / rank.
        dropout: probability of zeroing entries of the low-rank branch's input in training.
        detach_norm: whether ||V|| counts as a constant in the backward pass, which saves the product left right its
            gradient through the norm; False gives the exact gradient.

    Raises:
        MethodError: if rank < 1, alpha <= 0 or dropout is outside [0, 1).
    """

    detach_norm: bool = True

    def adapter(self, target: Target) -> "DoRAAdapter":
        """Build the magnitude and the two factors for one weight."""
        return DoRAAdapter(target, self)


class DoRAAdapter(Decomposed):
    """The magnitude and the factors of one weight.

    Attributes:
        left: [*batch, out, r].
        right: [*batch, r, in].
    """

    def __init__(self, target: Target, method: DoRA) -> None:
        target.require_rank(method.rank)
        super().__init__(target, method.detach_norm)
        self.scaling, self.dropout = method.scaling, method.dropout
        shape = (*target.batch, method.rank, target.in_features)
        self.right = nn.Parameter(kaiming_uniform(shape, target.in_features, target.generator()))
        self.left = nn.Parameter(torch.zeros(*target.batch, target.out_features, method.rank))

    def update(self) -> tuple[Tensor, ...]:
        """(s left, right)."""
        return self.scaling * self.left, self.right

    def added(self, x: Tensor, base: Tensor, update: tuple[Tensor, ...]) -> Tensor:
        """Base plus s left right x, accumulated into `base` where that is allowed."""
        left, right = update
        dropout = self.dropout if self.training else 0.0
        return self.target.add_product(base, x, Product(left, right), dropout, inplace=True, own=True)

    def assign(self, left: Tensor, right: Tensor, bias: Tensor | None) -> None:
        """Make left @ right the delta, and m the norm of what that gives."""
        with torch.no_grad():
            self.left.copy_(left / self.scaling)
            self.right.copy_(right)
            self.magnitude.copy_(self._norm(self.scaling * self.left, self.right))

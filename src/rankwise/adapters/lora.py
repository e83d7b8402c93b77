# SPDX-License-Identifier: Apache-2.0
"""Add a trainable product of two thin matrices to each frozen weight.

    W = W0 + s left right - s left0 right0,   left [out, r], right [r, in],
    s = alpha / r, or alpha / sqrt(r) if stabilized

With the usual starts left is zero, so W = W0 and the last term is absent. PiSSA starts from the leading singular
vectors of W0 and OLoRA from its QR factors; there the frozen copy of the start is subtracted, so that W0 itself is
never rewritten and the model starts at the base function (at twice the rank's cost).

LoRA: Hu et al. 2021, arXiv 2106.09685. Rank stabilization: Kalajdzievski 2023, arXiv 2312.03732. PiSSA: Meng et al.
2024, arXiv 2404.02948. OLoRA: Buyukakyuz 2024, arXiv 2406.01775. Does not choose ranks by itself.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankwise.core.adapter import Factored, kaiming_uniform
from rankwise.core.lowrank import Product
from rankwise.core.method import Method, register
from rankwise.core.targets import Target
from rankwise.linalg import svd, wide


@register
@dataclass(frozen=True)
class LoRA(Method):
    """Low-rank adaptation, W = W0 + (alpha / rank) left right.

    Attributes:
        rank: inner dimension of the product.
        alpha: scale of the product; the delta is multiplied by alpha / rank.
        stabilized: divide alpha by sqrt(rank) instead of rank.
        dropout: probability of zeroing entries of the adapter's input in training.
        init: start of the factors: "kaiming" or "gaussian" (right random, left zero), "pissa" or "olora" (from W0).
        bias: whether to train a change of the layer's bias too.

    Raises:
        MethodError: if rank < 1, alpha <= 0 or dropout is outside [0, 1).
    """

    rank: int = 8
    alpha: float = 16.0
    stabilized: bool = False
    dropout: float = 0.0
    init: Literal["kaiming", "gaussian", "pissa", "olora"] = "kaiming"
    bias: bool = False

    def validate(self) -> None:
        """Check ranges."""
        self.at_least("rank", 1)
        self.above("alpha", 0)
        self.probability("dropout")

    @property
    def scaling(self) -> float:
        """The factor in front of the product."""
        return self.alpha / (self.rank**0.5 if self.stabilized else self.rank)

    def adapter(self, target: Target) -> "LoRAAdapter":
        """Build the two factors for one weight."""
        return LoRAAdapter(target, self)


class LoRAAdapter(Factored):
    """The factors of one weight.

    Attributes:
        left: [*batch, out, r].
        right: [*batch, r, in].
        bias_change: [out], only with `bias=True` on a layer that has a bias.
    """

    left0: Tensor
    right0: Tensor

    def __init__(self, target: Target, method: LoRA) -> None:
        super().__init__(target)
        target.require_rank(method.rank)
        self.scaling, self.dropout = method.scaling, method.dropout
        left, right = _start(target, method)
        self.left, self.right = nn.Parameter(left), nn.Parameter(right)
        self.from_base = method.init in ("pissa", "olora")
        if self.from_base:
            self.register_buffer("left0", left.clone())
            self.register_buffer("right0", right.clone())
        bias = target.bias() if method.bias else None
        self.bias_change = None if bias is None else nn.Parameter(torch.zeros(bias.shape))

    def factors(self) -> tuple[Float[Tensor, "*batch out k"], Float[Tensor, "*batch k in"]]:
        """(s left, right); with a start from the base, side by side with the start's (-s left0, right0)."""
        if not self.from_base:
            return self.scaling * self.left, self.right
        left = torch.cat([self.left, -self.left0], dim=-1)
        return self.scaling * left, torch.cat([self.right, self.right0], dim=-2)

    def product(self) -> Product:
        """The factors as they are trained, and s."""
        return super().product() if self.from_base else Product(self.left, self.right, self.scaling)

    def bias_delta(self) -> Float[Tensor, " out"] | None:
        """The change of the bias, None if it is not trained."""
        return self.bias_change

    def assign(self, left: Tensor, right: Tensor, bias: Tensor | None) -> None:
        """Make left @ right the delta."""
        with torch.no_grad():
            self.left.copy_(left / self.scaling)
            self.right.copy_(right)
            if self.bias_change is not None and bias is not None:
                self.bias_change.copy_(bias)


def _start(target: Target, method: LoRA) -> tuple[Tensor, Tensor]:
    rank, generator = method.rank, target.generator()
    shape_left, shape_right = (*target.batch, target.out_features, rank), (*target.batch, rank, target.in_features)
    if target.restoring:
        return torch.zeros(shape_left), torch.zeros(shape_right)
    if method.init == "kaiming":
        return torch.zeros(shape_left), kaiming_uniform(shape_right, target.in_features, generator)
    if method.init == "gaussian":
        return torch.zeros(shape_left), torch.randn(shape_right, generator=generator) / rank
    if method.init == "pissa":
        u, s, v = svd(target.matrix(), rank)
        root = (s / method.scaling).sqrt()
        return u * root[..., None, :], root[..., :, None] * v
    q, r = torch.linalg.qr(target.matrix(wide(target.compute_dtype)))
    return q[..., :rank].clone(), r[..., :rank, :] / method.scaling

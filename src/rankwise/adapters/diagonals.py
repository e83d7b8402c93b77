# SPDX-License-Identifier: Apache-2.0
"""Frozen products weighed by two trainable diagonals each, without keeping a tensor of a product's size.

    rows lam[j, k] a[k] gam[j] of all products j side by side,   y = base + x (B rows)^T   or its transpose

What the backward pass needs of them is computed again from the diagonals.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rankwise.core.lowrank import without_autocast


class Weighed(torch.autograd.Function):
    """`weighed`, of which only the inputs are kept."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, lam: Tensor, gam: Tensor, by_rank: bool) -> Tensor:
        """The weighed rows."""
        ctx.save_for_backward(a, lam, gam)
        ctx.by_rank = by_rank
        return weighed(a, lam, gam, by_rank)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients by the diagonals."""
        a, lam, gam = ctx.saved_tensors
        return None, *_gradients(grad, a, lam, gam, ctx.by_rank), None


@dataclass(frozen=True)
class Slices:
    """One layer's part of the bases, which side `a` is on, and the order of its rows."""

    a: Float[Tensor, "r small"]
    b: Float[Tensor, "large k"]
    wide: bool
    by_rank: bool


class AddWeighed(torch.autograd.Function):
    """Base + x (left right)^T; kept are x, the diagonals and the shared bases, never a tensor of a product's size."""

    @staticmethod
    def forward(ctx: Any, base: Tensor, x: Tensor, lam: Tensor, gam: Tensor, frozen: Slices) -> Tensor:
        """Base plus the weighed product's output."""
        ctx.save_for_backward(x, lam, gam)
        ctx.frozen = frozen
        with without_autocast(base):
            scaled, b = weighed(frozen.a, lam, gam, frozen.by_rank).to(base.dtype), frozen.b
            right, left = (scaled.t(), b.t()) if frozen.wide else (b, scaled)
            inner = x.reshape(-1, x.shape[-1]) @ right
            return torch.addmm(base.reshape(-1, base.shape[-1]), inner, left).view(base.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients by base, input and diagonals."""
        (x, lam, gam), frozen = ctx.saved_tensors, ctx.frozen
        b, wide = frozen.b, frozen.wide
        with without_autocast(grad):
            scaled = weighed(frozen.a, lam, gam, frozen.by_rank).to(grad.dtype)
            tokens, flat = x.reshape(-1, x.shape[-1]), grad.reshape(-1, grad.shape[-1])
            inner = flat @ (b if wide else scaled.t())
            of_scaled = inner.t() @ tokens if wide else (tokens @ b).t() @ flat
            of_x = (inner @ (scaled if wide else b.t())).view(x.shape) if ctx.needs_input_grad[1] else None
            return grad, of_x, *_gradients(of_scaled, frozen.a, lam, gam, frozen.by_rank), None


def weighed(
    a: Float[Tensor, "r small"], lam: Float[Tensor, "*batch n r"], gam: Float[Tensor, "*batch n small"], by_rank: bool
) -> Float[Tensor, "*batch k small"]:
    """The rows lam[j, k] a[k] gam[j], in order of j and then k, or of k and then j."""
    rows = (lam[..., None] * a) * gam[..., None, :]
    return (rows.transpose(-3, -2) if by_rank else rows).flatten(-3, -2)


def _gradients(grad: Tensor, a: Tensor, lam: Tensor, gam: Tensor, by_rank: bool) -> tuple[Tensor, Tensor]:
    """The gradients by lam and gam from that by `weighed`."""
    shape = (lam.shape[-1], lam.shape[-2]) if by_rank else (lam.shape[-2], lam.shape[-1])
    rows = grad.to(lam.dtype).unflatten(-2, shape)
    weighed = (rows.transpose(-3, -2) if by_rank else rows) * a
    return (weighed @ gam[..., None])[..., 0], (lam[..., None, :] @ weighed)[..., 0, :]

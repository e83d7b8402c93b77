# SPDX-License-Identifier: Apache-2.0
"""Transform every block of the frozen weight by a small matrix that a row of blocks shares.

    W_pq = W0_pq (I + D_p) + D_p,   W0_pq [r, r] the block in row p and column q,   D [out / r, r, r], zero at the start

so that what a layer learns is expressed in its pre-trained weight, and the change D_p taken up by all blocks of a row
has full rank in general: out * r numbers move all min(out, in) directions. The change of the whole row of blocks is one
product of W0, read as [r * in / r, r], with D_p; it is computed in each forward pass and again in the backward pass, so
that no tensor of the weight's size is kept for it. There is no factored form that costs less: D_p meets another part of
the input in every block.

Kang and Yin 2024, arXiv 2409.15371, versions 1 to 3, under the name Bone; later versions call it Bat and give the name
Bone to a cheaper update (`rankwise.adapters.bone`). Does not share D over the blocks of a column.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankwise.core.adapter import Adapter
from rankwise.core.lowrank import needs_plain_formula, without_autocast
from rankwise.core.method import Method, register
from rankwise.core.targets import Target
from rankwise.errors import MethodError
from rankwise.linalg.divisors import divisors


@register
@dataclass(frozen=True)
class Bat(Method):
    """Block affine transformation, W_pq = W0_pq (I + D_p) + D_p.

    Attributes:
        rank: side r of the blocks; it divides both sides of every adapted weight.

    Raises:
        MethodError: if rank < 1; on a target, if the rank does not divide both of its sides.
    """

    rank: int = 64

    tiny: ClassVar[Mapping[str, Any]] = MappingProxyType({"rank": 1})  # sides of 5 and 6 have no other common divisor

    def validate(self) -> None:
        """Check ranges."""
        self.at_least("rank", 1)

    def adapter(self, target: Target) -> "BatAdapter":
        """Build the blocks of one weight."""
        return BatAdapter(target, self)


class BatAdapter(Adapter):
    """The transformation of one weight.

    Attributes:
        blocks: D [*batch, out / r, r, r].
    """

    def __init__(self, target: Target, method: Bat) -> None:
        super().__init__(target)
        out, inputs, rank = target.out_features, target.in_features, method.rank
        if out % rank or inputs % rank:
            possible = divisors(math.gcd(out, inputs))
            raise MethodError(
                f"rank {rank} does not divide both sides of {target.name!r} ({out} x {inputs}); the ranks that do are "
                f"{', '.join(map(str, possible))}. Choose one of them, set it for this target alone with "
                f"ranks={{{target.name!r}: {possible[-1]}}}, or use Bone, which needs no division."
            )
        self.blocks = nn.Parameter(torch.zeros(*target.batch, out // rank, rank, rank))

    def delta(self) -> Float[Tensor, "..."]:
        """W0_pq D_p + D_p in the target's canonical shape."""
        return _change(self.target.matrix(self.blocks.dtype), self.blocks).reshape(self.target.shape)

    def forward(self, x: Tensor, base: Tensor) -> Tensor:
        """Base plus the dense change applied to the input; in the backward pass of a linear layer it is built again."""
        if not x.is_floating_point() or self.target.channel_dim != -1 or needs_plain_formula(base, x):
            return super().forward(x, base)
        return _AddChange.apply(base, x, self.blocks, self.target)


class _AddChange(torch.autograd.Function):
    """Base + x delta^T, saving x and D alone."""

    @staticmethod
    def forward(ctx: Any, base: Tensor, x: Tensor, blocks: Tensor, target: Target) -> Tensor:
        ctx.save_for_backward(x, blocks)
        ctx.target, ctx.dtype = target, base.dtype
        with without_autocast(base):
            change = _change(target.matrix(blocks.dtype), blocks).to(base.dtype)
            flat, tokens = base.reshape(-1, base.shape[-1]), x.reshape(-1, x.shape[-1]).to(base.dtype)
            return torch.addmm(flat, tokens, change.t()).view(base.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, blocks = ctx.saved_tensors
        weight = ctx.target.matrix(blocks.dtype)
        with without_autocast(grad):
            grad_x = grad_blocks = None
            if ctx.needs_input_grad[1]:
                grad_x = (grad @ _change(weight, blocks).to(grad.dtype)).to(x.dtype)
            if ctx.needs_input_grad[2]:
                dense = grad.reshape(-1, grad.shape[-1]).t() @ x.reshape(-1, x.shape[-1]).to(grad.dtype)
                grad_blocks = _gradient(weight, dense.to(blocks.dtype), blocks.shape[-1])
        return grad, grad_x, grad_blocks, None


def _change(
    weight: Float[Tensor, "*batch out in"], blocks: Float[Tensor, "*batch p r r"]
) -> Float[Tensor, "*batch out in"]:
    """W0_pq D_p + D_p for all p and q; row p of blocks is one product [r q, r] @ [r, r]."""
    rank = blocks.shape[-1]
    rows = weight.reshape(*blocks.shape[:-2], -1, rank)
    moved = (rows @ blocks).unflatten(-2, (rank, -1)) + blocks.unsqueeze(-2)
    return moved.reshape(weight.shape)


def _gradient(weight: Float[Tensor, "out in"], grad: Float[Tensor, "out in"], rank: int) -> Float[Tensor, "p r r"]:
    """The gradient by D from that by the dense change: sum_q (W0_pq + I)^T G_pq."""
    shape = (-1, rank * (weight.shape[-1] // rank), rank)
    rows, grad_rows = weight.reshape(shape), grad.reshape(shape)
    return rows.mT @ grad_rows + grad_rows.unflatten(-2, (rank, -1)).sum(-2)

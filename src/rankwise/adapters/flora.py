# SPDX-License-Identifier: Apache-2.0
"""Add a Tucker product to each frozen weight: a small core of the weight's own order, one thin matrix for each side.

    dW[o, c, h, w] = s sum_{a, b, e, f} G[a, b, e, f] F_0[c, a] F_1[o, b] F_2[h, e] F_3[w, f]     (two kernel sides)

The sides count in the order input channels (of one group), output channels, kernel sides. The core of a kernel is
itself a small kernel, so a convolution keeps its spatial structure and runs in three steps: a 1x1 convolution F_0 to
r_0 channels, one by G x F_2 x F_3 from r_0 to r_1 channels with all settings of the layer, and a 1x1 convolution F_1
back. Every kind of padding commutes with the first step. With groups, all groups share F_0, the core and the kernel
sides, and each has its own rows of F_1. On a linear layer dW = s F_1 G^T F_0^T: LoRA with a trained matrix in between.
Only the core starts at zero.

Si et al. 2024, FLoRA: Low-Rank Core Space for N-dimension, arXiv 2405.14739. Several other works have the name Flora or
FLoRA (federated, batched and gradient-compressing ones); this is none of them. Does not choose ranks by itself.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise.core.adapter import Factored
from rankwise.core.method import Method, register
from rankwise.core.targets import Target
from rankwise.errors import MethodError


@register
@dataclass(frozen=True)
class FLoRA(Method):
    """Tucker update of a weight of any order, W = W0 + scale * G x F_0 x F_1 x F_2 ...

    Attributes:
        rank: r_1, of the output channels, and r_0, of the input channels, unless `in_rank` is given.
        in_rank: r_0; None means `rank`, or all input channels of a group of a convolution if those are fewer.
        kernel_ranks: ranks of the kernel's sides, read by convolutions alone; None means half the length rounded up,
            and 2 for a length of 2.
        scale: factor in front of the product, not divided by a rank; None means 4 on convolutions and 2 elsewhere.
        dropout: probability of zeroing entries of the adapter's input in training.

    Raises:
        MethodError: if a rank < 1, scale <= 0 or dropout is outside [0, 1); on a target, if a rank does not fit it.
    """

    rank: int = 8
    in_rank: int | None = None
    kernel_ranks: tuple[int, ...] | None = None
    scale: float | None = None
    dropout: float = 0.0

    def validate(self) -> None:
        """Check ranges."""
        self.at_least("rank", 1)
        if self.in_rank is not None:
            self.at_least("in_rank", 1)
        if self.kernel_ranks is not None and not all(rank >= 1 for rank in self.kernel_ranks):
            raise MethodError(f"FLoRA.kernel_ranks must all be at least 1, got {list(self.kernel_ranks)}.")
        if self.scale is not None:
            self.above("scale", 0)
        self.probability("dropout")

    def adapter(self, target: Target) -> "FLoRAAdapter":
        """Build the core and the matrices of one weight."""
        return FLoRAAdapter(target, self)


class FLoRAAdapter(Factored):
    """The core and the matrices of one weight.

    Attributes:
        core: G [*batch, r_0, r_1, *kernel ranks], zero at the start.
        side_0, side_1, ...: F_i [*batch, d_i, r_i], normal with variance 1 / (2 r_i) at the start.
    """

    def __init__(self, target: Target, method: FLoRA) -> None:
        super().__init__(target)
        out, inputs, *kernel = target.shape[len(target.batch) :]
        lengths, ranks = [inputs, out, *kernel], _ranks(target, method, inputs, kernel)
        _require_fit(target, lengths, ranks)
        self.scaling, self.dropout = method.scale or (4.0 if kernel else 2.0), method.dropout
        self.spatial = math.prod(kernel) > 1
        generator = target.generator()
        self.core = nn.Parameter(torch.zeros(*target.batch, *ranks))
        for i, (length, rank) in enumerate(zip(lengths, ranks, strict=True)):
            start = torch.randn((*target.batch, length, rank), generator=generator) * (0.5 / rank) ** 0.5
            self.register_parameter(f"side_{i}", nn.Parameter(start))

    @property
    def sides(self) -> list[Float[Tensor, "*batch length r"]]:
        """The matrices F_0, F_1, F_2, ..."""
        order = len(self.target.shape) - len(self.target.batch)
        return [cast(Tensor, self._parameters[f"side_{i}"]) for i in range(order)]

    def kernel(self) -> Float[Tensor, "..."]:
        """The small kernel [*batch, r_1, r_0, *kernel], the core with the kernel sides put in."""
        small = self.core
        for side in self.sides[2:]:
            small = small.movedim(2, -1) @ side.mT  # takes away the first kernel dimension, adds a last
        batch = len(self.target.batch)
        return small.transpose(batch, batch + 1)

    def factors(self) -> tuple[Float[Tensor, "*batch out k"], Float[Tensor, "*batch k in"]]:
        """(s F_1, the rest), or (s F_1 G^T, F_0^T) where the kernel has one entry and that is thinner."""
        first, last, *_ = self.sides
        last = self.scaling * last
        small = self.kernel()
        if self.spatial:
            right = torch.einsum("ba...,ca->bc...", small, first)
            return last, right.flatten(1)
        small = small.reshape(*self.target.batch, last.shape[-1], first.shape[-1])
        if (first.shape[-1], last.shape[-2]) < (last.shape[-1], first.shape[-2]):
            return last @ small, first.mT
        return last, small @ first.mT

    def add(self, x: Tensor, base: Tensor, scale: float = 1.0, *, inplace: bool = False, own: bool = False) -> Tensor:
        """Base plus scale * the update's output, by a 1x1 convolution, a small spatial one and a 1x1 one."""
        if not self.spatial:
            return super().add(x, base, scale, inplace=inplace, own=own)
        target = self.target
        first, last, *_ = self.sides
        first, small = _for_groups(first.mT, target), _for_groups(self.kernel(), target)
        x = F.dropout(x.to(base.dtype), self.dropout if self.training else 0.0)
        bottleneck = target.apply(target.up(x, first.to(base.dtype)), small, base)
        return base + target.up(bottleneck, (scale * self.scaling * last).to(base.dtype))


def _for_groups(tensor: Tensor, target: Target) -> Tensor:
    """The same output channels once for each group."""
    return tensor.tile(target.groups, *[1] * (tensor.ndim - 1))


def _ranks(target: Target, method: FLoRA, inputs: int, kernel: Sequence[int]) -> list[int]:
    """r_0, r_1 and the ranks of the kernel's sides."""
    target.require_rank(method.rank)
    in_rank = method.in_rank or (min(method.rank, inputs) if kernel else method.rank)
    if not kernel or method.kernel_ranks is None:
        return [in_rank, method.rank, *(min(length, max(2, -(-length // 2))) for length in kernel)]
    if len(method.kernel_ranks) != len(kernel):
        raise MethodError(
            f"kernel_ranks {list(method.kernel_ranks)} are {len(method.kernel_ranks)}, but the kernel of "
            f"{target.name!r} has {len(kernel)} sides, {list(kernel)}; give one rank for each side, or None."
        )
    return [in_rank, method.rank, *method.kernel_ranks]


def _require_fit(target: Target, lengths: Sequence[int], ranks: Sequence[int]) -> None:
    names = ["in_rank", "rank", *["a kernel rank"] * (len(ranks) - 2)]
    for name, length, rank in zip(names, lengths, ranks, strict=True):
        if rank > length:
            raise MethodError(
                f"{name} {rank} is above {length}, the length of that side of {target.name!r} (input channels of a "
                f"group, output channels and kernel sides: {list(lengths)}); choose at most {length}."
            )

# SPDX-License-Identifier: Apache-2.0
"""Add to a frozen convolution a small convolution to a few channels and a 1x1 convolution back.

    y = conv(x, W0) + b + s conv1x1(conv(x, A), B),   s = alpha / rank
    dW[o, i, h, w] = s sum_q B[o, q] A[q, i, h, w],   A [rank, in / g, kh, kw], B [out, rank / g]

conv(x, A) has the stride, padding, padding mode, dilation and groups g of the layer. With g groups both convolutions
are grouped: each group has rank / g channels of its own, so that the update is one of the grouped kernel and merges
exactly. Without groups this is LoRA of the unfolded kernel [out, in * kh * kw].

The form is that of arXiv 2508.01772 (2025), which names it convLoRA; its abstract, all that was at hand, has no
formula. The product that the earlier ConvLoRA and LoRA-C codes build is `rankwise.adapters.lorac`. Does not take layers
other than convolutions, nor depthwise ones.
"""

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise.core.adapter import Adapter, Factored, kaiming_uniform
from rankwise.core.method import LowRank, register
from rankwise.core.targets import ConvTarget, Target
from rankwise.errors import MethodError, TargetError


@register
@dataclass(frozen=True)
class ConvLoRA(LowRank):
    """A convolution to `rank` channels and a 1x1 convolution back, W = W0 + (alpha / rank) B A.

    Attributes:
        rank: channels between the two convolutions; a multiple of the layer's groups.
        alpha: scale of the update; it is multiplied by alpha / rank.
        dropout: probability of zeroing entries of the adapter's input in training.

    Raises:
        MethodError: if rank < 1, alpha <= 0 or dropout is outside [0, 1), or the rank does not fit a layer.
        TargetError: if a target is no convolution, or a depthwise one.
    """

    rank: int = 4
    alpha: float = 8.0

    def adapter(self, target: Target) -> Adapter:
        """Build the two kernels for one convolution."""
        return ConvLoRAAdapter(target, self)


class ConvLoRAAdapter(Factored):
    """The two kernels of one convolution.

    Attributes:
        right: A as a matrix [rank, in / groups * kernel]; the channels of the first group come first.
        left: B [out, rank / groups], zero at the start.
    """

    def __init__(self, target: Target, method: ConvLoRA) -> None:
        super().__init__(target)
        _require_possible(target, method)
        self.scaling, self.dropout = method.scaling, method.dropout
        shape = (method.rank, target.in_features)
        self.right = nn.Parameter(kaiming_uniform(shape, target.in_features, target.generator()))
        self.left = nn.Parameter(torch.zeros(target.out_features, method.rank // target.groups))

    def factors(self) -> tuple[Float[Tensor, "out rank"], Float[Tensor, "rank in"]]:
        """(s B, A); with groups B stands in blocks, zero where an output channel meets another group's."""
        left, groups = self.scaling * self.left, self.target.groups
        if groups == 1:
            return left, self.right
        blocks = left.reshape(groups, -1, left.shape[-1])
        own = torch.eye(groups, dtype=left.dtype, device=left.device)[:, None, :, None]
        return (own * blocks[:, :, None, :]).reshape(-1, len(self.right)), self.right

    def add(self, x: Tensor, base: Tensor, scale: float = 1.0, *, inplace: bool = False, own: bool = False) -> Tensor:
        """Base plus scale * the update's output; with groups each group runs through its own channels alone."""
        target = cast(ConvTarget, self.target)
        if target.groups == 1:
            return super().add(x, base, scale, inplace=inplace, own=own)
        kernel = self.right.reshape(-1, *target.shape[1:])
        bottleneck = target.apply(F.dropout(x, self.dropout, self.training), kernel, base)
        return base + target.up(bottleneck, (scale * self.scaling * self.left).to(base.dtype))


def require_convolution(target: Target, method: str, instead: str) -> None:
    """Refuse a weight that is no convolution's kernel.

    Args:
        target: the weight.
        method: the name of the method that is asked for.
        instead: the name of a method that takes every kind of layer.

    Raises:
        TargetError: if it is not.
    """
    if not isinstance(target, ConvTarget):
        raise TargetError(
            f"{target.name!r} is no convolution, and {method} is defined on convolution kernels alone; use {instead} "
            "there, or leave it out of targets."
        )


def _require_possible(target: Target, method: ConvLoRA) -> None:
    name, groups, rank = type(method).__name__, target.groups, method.rank
    require_convolution(target, name, name.replace("Conv", ""))
    if groups > 1 and target.shape[1] == 1:
        raise TargetError(
            f"{target.name!r} is depthwise ({groups} groups of one input channel), where {name} needs a rank of at "
            f"least {groups} and its kernels are about as large as the layer's own; leave it out of targets, or use "
            "LoRA."
        )
    if rank % groups:
        raise MethodError(
            f"{name}.rank {rank} does not divide evenly into the {groups} groups of {target.name!r}; choose a multiple "
            f"of {groups}, or set one for this target alone with ranks={{{target.name!r}: {groups}}}."
        )
    limit = min(target.out_features, target.in_features * groups)
    if rank > limit:
        raise MethodError(
            f"rank {rank} is above min(out, groups * in) = {limit} of {target.name!r} ({target.out_features} x "
            f"{target.in_features} in {groups} groups); choose a rank of at most {limit}, or set it for this target "
            f"alone with ranks={{{target.name!r}: {limit}}}."
        )

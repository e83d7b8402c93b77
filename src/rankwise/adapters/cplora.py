# SPDX-License-Identifier: Apache-2.0
"""Add a sum of outer products, one vector for each side of a convolution kernel, to the frozen kernel.

    W = W0 + dW,   dW[o, i, h, w] = s sum_q a[o, q] b[i, q] c[h, q] d[w, q],   s = alpha / rank

(canonical polyadic form). The vectors of one kernel side cost its length, so the size grows with kh + kw where the
two-factor form of LoRA grows with kh * kw. There is one matrix for each side longer than 1: a kernel of three
dimensions has five, and on a linear layer or a 1x1 kernel only a and b are left, which is LoRA. As factors the update
is s a and the Khatri-Rao product of all the others, [rank, in * kh * kw]; a convolution runs it side by side.

Only a starts at zero: two zero sides would never get a gradient. The others are normal with variance 1 / length.

The factorization is named CP-LoRA in arXiv 2508.01772, which gives no formula in its abstract; the reading here is the
usual canonical polyadic form. Does not choose ranks by itself.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankwise.core.adapter import Adapter, Factored
from rankwise.core.method import LowRank, register
from rankwise.core.targets import ConvTarget, Target
from rankwise.errors import MethodError


@register
@dataclass(frozen=True)
class CPLoRA(LowRank):
    """Canonical polyadic update of a kernel, W = W0 + (alpha / rank) sum_q a_q o b_q o c_q o d_q.

    Attributes:
        rank: number of outer products.
        alpha: scale of the update; it is multiplied by alpha / rank.
        dropout: probability of zeroing entries of the adapter's input in training.

    Raises:
        MethodError: if rank < 1, alpha <= 0 or dropout is outside [0, 1).
    """

    rank: int = 4
    alpha: float = 8.0

    def adapter(self, target: Target) -> Adapter:
        """Build one matrix of vectors for each side of the weight."""
        return CPLoRAAdapter(target, self)


class CPLoRAAdapter(Factored):
    """The vectors of one weight.

    Attributes:
        out: a [*batch, out, r], zero at the start.
        sides: b [*batch, in / groups, r] and below it one [length, r] for each kernel side longer than 1.
        kernel: the lengths of all kernel sides.

    Raises:
        MethodError: if the rank is above what any tensor of the weight's shape needs.
    """

    def __init__(self, target: Target, method: CPLoRA) -> None:
        super().__init__(target)
        rank, generator = method.rank, target.generator()
        out, inputs, *self.kernel = target.shape[len(target.batch) :]
        _require_rank(target, rank, [out, inputs, *self.kernel])
        self.scaling, self.dropout = method.scaling, method.dropout
        self.out = nn.Parameter(torch.zeros(*target.batch, out, rank))
        self.lengths = [inputs, *(length for length in self.kernel if length > 1)]
        start = [torch.randn((*target.batch, n, rank), generator=generator) / n**0.5 for n in self.lengths]
        self.sides = nn.Parameter(torch.cat(start, dim=-2))

    def factors(self) -> tuple[Float[Tensor, "*batch out r"], Float[Tensor, "*batch r in"]]:
        """(s a, the Khatri-Rao product of the other sides)."""
        first, *rest = self.sides.split(self.lengths, dim=-2)
        right = first.mT
        for side in rest:
            right = (right[..., :, None] * side.mT[..., None, :]).flatten(-2)
        return self.scaling * self.out, right

    def add(self, x: Tensor, base: Tensor, scale: float = 1.0, *, inplace: bool = False, own: bool = False) -> Tensor:
        """Base plus scale * the update's output, by one small convolution for each side of the kernel."""
        if len(self.lengths) == 1:
            return super().add(x, base, scale, inplace=inplace, own=own)
        target = cast(ConvTarget, self.target)  # nothing else has kernel sides
        first, *rest = self.sides.to(base.dtype).split(self.lengths)
        sides = [rest.pop(0) if length > 1 else None for length in self.kernel]
        bottleneck = target.down_by_sides(x, first, sides, base, self.dropout if self.training else 0.0)
        return base + target.up(bottleneck, (scale * self.scaling * self.out).to(base.dtype))


def _require_rank(target: Target, rank: int, shape: list[int]) -> None:
    limit = math.prod(shape) // max(shape)
    if rank > limit:
        raise MethodError(
            f"rank {rank} is above {limit}, the most outer products that any tensor of the shape {shape} of "
            f"{target.name!r} needs; choose a rank of at most {limit}, or set it for this target alone with "
            f"ranks={{{target.name!r}: {limit}}}."
        )

# SPDX-License-Identifier: Apache-2.0
"""Add two low-rank experts to each frozen weight and mix them, example by example, by a given quality.

    y = W0 x + b + s ((1 - a) U1 (D1 x) + a U2 (D2 x))
      = W0 x + b + s [U1, U2] (w * [D1 ; D2] x),   w = (1 - a, ..., 1 - a, a, ..., a)
    D1, D2 [r, in], U1, U2 [out, r]

The quality a is one number for each example, about 0 for poor and 1 for good inputs, and enters through
`adaptation.context(quality=...)`; it is data, so no gradient flows into it. Both experts run as one product of rank 2 r
whose bottleneck is weighed. The weight itself has a delta, and can be merged or converted, for one quality at a time:
`with adaptation.context(quality=0.3): adaptation.merge()`.

Narayan et al. 2024, arXiv 2412.07771. Does not compute the quality score of an image; `quality_gate` maps a score to a.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

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
class PETALface(Method):
    """Two low-rank experts mixed by a quality value of each example.

    Attributes:
        rank: inner dimension of each expert's product; both together cost what a LoRA of rank 2 * rank costs.
        scale: the factor s in front of both experts (not divided by the rank).
        dropout: probability of zeroing entries between the down and the up projections in training.
        init_up_std: standard deviation of the up projections at the start; 0 starts at the base function.

    Raises:
        MethodError: if rank < 1, scale <= 0, dropout is outside [0, 1) or init_up_std < 0.
    """

    inputs: ClassVar[tuple[str, ...]] = ("quality",)
    tiny: ClassVar[Mapping[str, Any]] = MappingProxyType({"dropout": 0.0})

    rank: int = 8
    scale: float = 1.0
    dropout: float = 0.1
    init_up_std: float = 0.0

    def validate(self) -> None:
        """Check ranges."""
        self.at_least("rank", 1)
        self.above("scale", 0)
        self.probability("dropout")
        self.at_least("init_up_std", 0)

    def adapter(self, target: Target) -> "PETALfaceAdapter":
        """Build the two experts for one weight."""
        return PETALfaceAdapter(target, self)


class PETALfaceAdapter(Factored):
    """The experts of one weight.

    Attributes:
        left: [*batch, out, 2 r], the up projections side by side, [U1, U2].
        right: [*batch, 2 r, in], the down projections stacked, [D1 ; D2].
    """

    def __init__(self, target: Target, method: PETALface) -> None:
        super().__init__(target)
        target.require_rank(method.rank)
        self.rank, self.scaling, self.bottleneck_dropout = method.rank, method.scale, method.dropout
        generator = target.generator()
        right = torch.randn(*target.batch, 2 * method.rank, target.in_features, generator=generator) / method.rank
        left = torch.randn(*target.batch, target.out_features, 2 * method.rank, generator=generator)
        self.left, self.right = nn.Parameter(method.init_up_std * left), nn.Parameter(right)

    def factors(self) -> tuple[Float[Tensor, "*batch out k"], Float[Tensor, "*batch k in"]]:
        """(s [U1, U2] diag(w), [D1 ; D2]) for the one quality that holds for all examples now.

        Raises:
            StateError: if there is no such quality.
        """
        return self.scaling * self.left * self._weights(self.value("quality")), self.right

    def forward(self, x: Tensor, base: Tensor) -> Tensor:
        """Base plus both experts, each example with its own weights."""
        target = self.target
        bottleneck = target.down(x, self.right.to(base.dtype), base)
        context = None if self.runtime is None else self.runtime.current_context()
        dim = 0 if context is None else context.batch_dim
        weights = self._weights(self.value("quality", x.shape[dim]))
        bottleneck = target.weighed(bottleneck, weights, dim)
        bottleneck = F.dropout(bottleneck, self.bottleneck_dropout, self.training)
        return target.up(bottleneck, (self.scaling * self.left).to(base.dtype)).to(base.dtype).add_(base)

    def _weights(self, quality: Tensor) -> Tensor:
        """(1 - a) for the first r channels and a for the others, [2 r] or [rows, 2 r]."""
        quality = quality.detach().to(self.left)
        return torch.stack([1 - quality, quality], dim=-1).repeat_interleave(self.rank, dim=-1)


def quality_gate(
    scores: Float[Tensor, "*examples"], threshold: float, slope: float = 1.0, *, clip: bool = True
) -> Float[Tensor, "*examples"]:
    """The quality a = 0.5 + slope (score - threshold) of each example.

    Args:
        scores: an image quality score, of any kind, for each example.
        threshold: the score that counts as halfway; the mean score of the training set is a good choice.
        slope: how fast quality grows with the score; negative for scores where lower is better.
        clip: whether to clamp to [0, 1]; without it the weights of the experts are unbounded.

    Returns:
        One quality for each score, without gradient.

    Raises:
        MethodError: if a score is not finite.
    """
    if not bool(torch.isfinite(scores).all()):
        raise MethodError("quality_gate needs finite scores, got NaN or infinite ones; score those examples again.")
    quality = 0.5 + slope * (scores.detach() - threshold)
    return quality.clamp(0, 1) if clip else quality

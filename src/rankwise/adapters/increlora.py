# SPDX-License-Identifier: Apache-2.0
"""Start every weight at rank 1 and give more rank, event by event, to the few weights that the loss asks most of.

    W = W0 + alpha / (r + 1e-5) left diag(e) right,    r the present rank, left [out, r + k], right [r + k, in]
    score = sum |delta| |dL/d delta| / sqrt(out in),   I <- b1 I + (1 - b1) score,   U <- b2 U + (1 - b2) |score - I|

Of the r + k components k are a reserve: their e rests at 1e-5 while their vectors train already. At every
`incre_interval`-th step after `init_warmup` the `top_h` weights with the largest I U let their reserve join and get a
fresh one, until the ranks add up to `target_rank` a weight. A regularizer keeps the vectors of each factor orthonormal:
`orthogonality` times the mean of ||A A^T - 1||_F over all factors A. The divisor r makes growth shrink what was learned
(by a half from rank 1 to 2); `keep_function` divides by `target_rank` instead.

IncreLoRA: Zhang et al. 2023, arXiv 2308.12043. The events, the budget and the masked tensors are those of
`rankwise.core.growth`. Ranks never shrink.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from rankwise.core.budget import importance, observe
from rankwise.core.growth import Growing, GrowingAdapter, growing
from rankwise.core.method import register
from rankwise.core.rows import Rows
from rankwise.core.scores import Scored, stop_scores, take_scores
from rankwise.core.sharded import local, shard_of
from rankwise.core.targets import Target
from rankwise.core.training import Training

_RESERVE = 1e-5  # e of a reserve component


@register
@dataclass(frozen=True)
class IncreLoRA(Growing):
    """Incremental parameter allocation, W = W0 + alpha / r left diag(e) right with a growing r.

    The fields that are not named here are those of `rankwise.core.growth.Growing`.

    Attributes:
        top_h: how many weights grow at an event.
        advance_learn: whether the vectors of the reserve, `incre_rank_num` components, train before they join.
        keep_function: divide by `target_rank` instead of the present rank, so that growth changes no output.
        beta1: memory of the averaged score I.
        beta2: memory of its uncertainty U.
        score_norm: what a score is divided by: sqrt(out in) ("sqrt_numel") or out in ("mean").

    Raises:
        MethodError: if a field is out of range, there is nothing to grow, or no event comes before `total_steps`.
    """

    tiny: ClassVar[Mapping[str, Any]] = MappingProxyType({"init_warmup": 1, "incre_interval": 2, "top_h": 1})

    top_h: int = 4
    advance_learn: bool = True
    keep_function: bool = False
    beta1: float = 0.85
    beta2: float = 0.85
    score_norm: Literal["sqrt_numel", "mean"] = "sqrt_numel"

    def validate(self) -> None:
        """Check ranges, and that growth can happen."""
        super().validate()
        self.at_least("top_h", 1)
        for name in ("beta1", "beta2"):
            self.probability(name)

    def adapter(self, target: Target) -> "IncreLoRAAdapter":
        """Build the factors of one weight, at the largest rank it can reach."""
        return IncreLoRAAdapter(target, self)

    def begin(self, training: Training) -> None:
        """Let the first reserve train."""
        for one in growing(training):
            one.grow(one.rank, 1)

    def watch(self, training: Training) -> None:
        """Take in this step's scores."""
        scores, power = take_scores(training), 0.5 if self.score_norm == "sqrt_numel" else 1.0
        targets = [(one.target, one.rank.numel()) for one in growing(training)]
        sizes = [target.out_features * target.in_features for target, count in targets for _ in range(count)]
        observe(training, scores / torch.tensor(sizes).to(scores) ** power, self.beta1, self.beta2)

    def ranking(self, training: Training) -> Float[Tensor, " n"]:
        """The averaged score times its uncertainty."""
        return importance(training)

    def how_many(self, step: int, left: int) -> int:
        """The same number at each event."""
        return self.top_h

    def finish(self, training: Training) -> None:
        """Measure no scores any more, and let no reserve act."""
        stop_scores(training)
        for one in growing(training):
            assert isinstance(one, IncreLoRAAdapter)
            one.growing.fill_(False)


class IncreLoRAAdapter(GrowingAdapter, Scored):
    """The components of one weight: `rank` that act, then the reserve, then those that wait.

    Attributes:
        e: [*batch, most]; only the entries that act are used.
        reserve: how many follow in the reserve; 0 before the first step.
        growing: whether the reserve acts, by a little.
        born_e: when the entries of e began to train; see `Rows.born`.
    """

    reserve: Tensor
    growing: Tensor
    born_e: Tensor

    def __init__(self, target: Target, method: IncreLoRA) -> None:
        super().__init__(target, method, target.generator(), method.increment)
        self.method = method
        self.e = nn.Parameter(torch.zeros(self.born_vectors.shape))
        self.register_buffer("reserve", torch.tensor(0))
        self.register_buffer("growing", torch.tensor(True))
        self.register_buffer("born_e", self.born_vectors.clone())

    def factors(self) -> tuple[Float[Tensor, "*batch out k"], Float[Tensor, "*batch k in"]]:
        """(left, alpha / r diag(e) right), e a constant in the reserve and 0 behind it."""
        resting = _RESERVE * (self.used() & self.growing) if self.method.advance_learn else 0.0
        e = torch.where(self.first(self.rank), self.e, resting)
        scaling = self.method.scaling(self.rank, e.dtype, fixed=self.method.keep_function)
        return self.left, (scaling[..., None] * e)[..., None] * self.right

    def grow(self, rank: Int[Tensor, "*batch"], born: int, ahead: int = 0) -> None:
        """Let the reserve join up to `rank`, with a fresh one behind it; what is new trains from step `born` on."""
        advance = self.method.advance_learn
        joins = self.first(rank) & (self.born_e < 0)
        e = local(self.e)
        e.copy_(torch.where(shard_of(joins, self.e), _RESERVE if advance else 0.0, e))
        self.born_e[joins] = born
        self.reserve.fill_(self.method.increment)
        super().grow(rank, born, self.method.increment if advance else 0)

    def rows(self) -> list[Rows]:
        """What starts to train in the middle."""
        return [*super().rows(), Rows(self.e, self.born_e)]

    def used(self) -> Bool[Tensor, "*batch most"]:
        """The components that act and the reserve."""
        return self.first(self.rank + self.reserve)

# SPDX-License-Identifier: Apache-2.0
"""Start every weight at rank 1 and give more rank, event by event, to the few weights that the loss asks most of.

    W = W0 + alpha / (r + 1e-5) left diag(e) right,    r the present rank, left [out, r + k], right [r + k, in]
    score = sum |delta| |dL/d delta| / sqrt(out in),   I <- b1 I + (1 - b1) score,   U <- b2 U + (1 - b2) |score - I|

Of the r + k components k are a reserve: their e rests at 1e-5 while their vectors train already. At every
`incre_interval`-th step after `init_warmup` the `top_h` weights with the largest I U let their reserve join and get a
fresh one, until the ranks add up to `target_rank` a weight. A regularizer keeps the vectors of each factor orthonormal:
`orthogonality` times the mean of ||A A^T - 1||_F over all factors A. The divisor r makes growth shrink what was learned
(by a half from rank 1 to 2); `keep_function` divides by `target_rank` instead.

IncreLoRA: Zhang et al. 2023, arXiv 2308.12043. Tensors have the largest rank from the start and are masked, so nothing
joins the optimizer later; see `rankwise.core.rows` for how a component starts in the middle. Ranks never shrink.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rankwise.core.errors import MethodError
from rankwise.core.growth import allocate, importance
from rankwise.core.method import Method, register
from rankwise.core.rows import FROZEN, Rows, hold, linear_from_birth, settle
from rankwise.core.scores import Scored, stop_scores, take_scores
from rankwise.core.sharded import local, shard_of, whole
from rankwise.core.targets import Target
from rankwise.core.training import Training

_START = 0.02  # standard deviation of the vectors
_RESERVE = 1e-5  # e of a reserve component
_EPS = 1e-5  # in the divisor


@register
@dataclass(frozen=True)
class IncreLoRA(Method):
    """Incremental parameter allocation, W = W0 + alpha / r left diag(e) right with a growing r.

    Attributes:
        rank: rank of every weight at the start.
        target_rank: mean rank of the weights at the end.
        alpha: scale of the product; the delta is multiplied by alpha / r.
        dropout: probability of zeroing entries of the adapter's input in training.
        top_h: how many weights grow at an event.
        init_warmup: steps without growth at the start; also the length of a late component's warm-up.
        incre_interval: steps from one event to the next.
        incre_rank_num: rank that a weight gains at an event; None takes half of `target_rank`.
        advance_learn: whether the vectors of the reserve train before they join.
        keep_function: divide by `target_rank` instead of the present rank, so that growth changes no output.
        beta1: memory of the averaged score I.
        beta2: memory of its uncertainty U.
        score_norm: what a score is divided by: sqrt(out in) ("sqrt_numel") or out in ("mean").
        orthogonality: weight of the regularizer.
        max_rank: the largest rank a weight can reach; None takes 4 * target_rank, or min(out, in) where that is less.
        total_steps: length of training. Late components then have a linear warm-up and decay of their own up to there;
            None gives them the optimizer's learning rate.

    Raises:
        MethodError: if a field is out of range, there is nothing to grow, or no event comes before `total_steps`.
    """

    scheduled: ClassVar[bool] = True
    tiny: ClassVar[Mapping[str, Any]] = MappingProxyType({"init_warmup": 1, "incre_interval": 2, "top_h": 1})

    rank: int = 1
    target_rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    top_h: int = 4
    init_warmup: int = 100
    incre_interval: int = 100
    incre_rank_num: int | None = None
    advance_learn: bool = True
    keep_function: bool = False
    beta1: float = 0.85
    beta2: float = 0.85
    score_norm: Literal["sqrt_numel", "mean"] = "sqrt_numel"
    orthogonality: float = 0.1
    max_rank: int | None = None
    total_steps: int | None = None

    def validate(self) -> None:
        """Check ranges, and that growth can happen."""
        for name in ("rank", "top_h", "incre_interval"):
            self.at_least(name, 1)
        if self.incre_rank_num is not None:
            self.at_least("incre_rank_num", 1)
        for name in ("init_warmup", "orthogonality"):
            self.at_least(name, 0)
        self.above("alpha", 0)
        for name in ("dropout", "beta1", "beta2"):
            self.probability(name)
        if self.target_rank <= self.rank:
            raise MethodError(
                f"IncreLoRA grows from rank = {self.rank} to a mean of target_rank = {self.target_rank}; give a "
                "target_rank above rank, or use LoRA."
            )
        if self.max_rank is not None and self.max_rank < self.target_rank:
            raise MethodError(f"IncreLoRA.max_rank {self.max_rank} is below target_rank {self.target_rank}.")
        first = (self.init_warmup // self.incre_interval + 1) * self.incre_interval
        if self.total_steps is not None and first >= self.total_steps:
            raise MethodError(
                f"IncreLoRA would first grow in step {first} (counted from 0), but total_steps is {self.total_steps}; "
                "lower init_warmup or incre_interval."
            )

    @property
    def increment(self) -> int:
        """The rank that a weight gains at an event, and the size of its reserve."""
        return max(1, self.target_rank // 2) if self.incre_rank_num is None else self.incre_rank_num

    def limit(self, target: Target) -> int:
        """The largest rank that a weight can reach.

        Raises:
            MethodError: if `target_rank` or `max_rank` is above min(out, in).
        """
        fits = min(target.out_features, target.in_features)
        wanted = self.max_rank or self.target_rank
        if wanted > fits:
            raise MethodError(
                f"{'max_rank' if self.max_rank else 'target_rank'} {wanted} is above min(out, in) = {fits} of "
                f"{target.name!r} ({target.out_features} x {target.in_features}); lower it, or leave this target out."
            )
        return self.max_rank or min(4 * self.target_rank, fits)

    def adapter(self, target: Target) -> "IncreLoRAAdapter":
        """Build the factors of one weight, at the largest rank it can reach."""
        return IncreLoRAAdapter(target, self)

    def penalty(self, training: Training) -> Tensor | None:
        """The regularizer of all factors."""
        if self.orthogonality == 0:
            return None
        distances = [one.distances() for one in _adapters(training)]
        return self.orthogonality * torch.cat([one.to(distances[0].device) for one in distances]).mean()

    def before_step(self, training: Training) -> None:
        """Score, grow if it is time to, and remember what must not move in the step."""
        adapters = _adapters(training)
        if training.step == 0:
            training.schedule["total_rank"] = torch.stack([one.rank.sum().cpu() for one in adapters]).sum()
            for one in adapters:
                one.grow(one.rank, 1)
        budget = self.target_rank * sum(one.rank.numel() for one in adapters)
        if int(training.schedule["total_rank"]) < budget:
            ranking = importance(training, self._scores(training), self.beta1, self.beta2)
            if training.step > self.init_warmup and training.step % self.incre_interval == 0:
                self._grow(training, ranking, budget)
        else:
            stop_scores(training)
        hold(training, [rows for one in adapters for rows in one.rows()])

    def after_step(self, training: Training) -> None:
        """Put components where they belong that do not train yet, or that started late."""
        late = None if self.total_steps is None else linear_from_birth(self.init_warmup, self.total_steps)
        settle(training, [rows for one in _adapters(training) for rows in one.rows()], late)

    def _scores(self, training: Training) -> Float[Tensor, " n"]:
        scores, power = take_scores(training), 0.5 if self.score_norm == "sqrt_numel" else 1.0
        sizes = [one.target.out_features * one.target.in_features for one in _adapters(training) for _ in one.each()]
        return scores / torch.tensor(sizes).to(scores) ** power

    def _grow(self, training: Training, ranking: Float[Tensor, " n"], budget: int) -> None:
        adapters = _adapters(training)
        ranks = torch.cat([one.rank.flatten().cpu() for one in adapters]).tolist()
        limits = [one.limit for one in adapters for _ in one.each()]
        ranks = allocate(ranking, ranks, limits, top=self.top_h, gain=self.increment, budget=budget)
        training.schedule["total_rank"] = torch.tensor(sum(ranks))
        parts = torch.tensor(ranks).split([one.rank.numel() for one in adapters])
        for one, part in zip(adapters, parts, strict=True):
            one.grow(part.reshape(one.rank.shape).to(one.rank), training.step + 1)
            one.growing.fill_(sum(ranks) < budget)


class IncreLoRAAdapter(Scored):
    """The components of one weight: `rank` that act, then the reserve, then those that wait.

    Attributes:
        left: [*batch, out, most], with `most` the largest rank and its reserve.
        e: [*batch, most]; only the entries that act are used.
        right: [*batch, most, in].
        rank: how many components act, for each matrix of the weight.
        reserve: how many follow in the reserve; 0 before the first step.
        growing: whether the reserve acts, by a little.
        born_vectors: when the columns of left and the rows of right began to train; see `Rows.born`.
        born_e: the same for e.
    """

    rank: Tensor
    reserve: Tensor
    growing: Tensor
    born_vectors: Tensor
    born_e: Tensor

    def __init__(self, target: Target, method: IncreLoRA) -> None:
        super().__init__(target)
        self.method, self.dropout, self.limit = method, method.dropout, method.limit(target)
        most, generator, batch = self.limit + method.increment, target.generator(), target.batch
        self.left = nn.Parameter(_START * torch.randn(*batch, target.out_features, most, generator=generator))
        self.e = nn.Parameter(torch.zeros(*batch, most))
        self.right = nn.Parameter(_START * torch.randn(*batch, most, target.in_features, generator=generator))
        born = torch.where(torch.arange(most) < method.rank, 0, FROZEN).expand(*batch, most)
        self.register_buffer("rank", torch.full(batch, method.rank))
        self.register_buffer("reserve", torch.tensor(0))
        self.register_buffer("growing", torch.tensor(True))
        self.register_buffer("born_vectors", born.clone())
        self.register_buffer("born_e", born.clone())

    def factors(self) -> tuple[Float[Tensor, "*batch out k"], Float[Tensor, "*batch k in"]]:
        """(left, alpha / r diag(e) right), e a constant in the reserve and 0 behind it."""
        resting = _RESERVE * (self._used() & self.growing) if self.method.advance_learn else 0.0
        e = torch.where(self._first(self.rank), self.e, resting)
        rank = torch.full_like(self.rank, self.method.target_rank) if self.method.keep_function else self.rank
        scaling = self.method.alpha / (rank.to(e.dtype) + _EPS)
        return self.left, (scaling[..., None] * e)[..., None] * self.right

    def distances(self) -> Float[Tensor, " n"]:
        """||A A^T - 1||_F of both factors of every matrix, on the components that act and the reserve."""
        used, trained = self._used(), self.born_vectors >= 0
        norms = []
        for vectors in (whole(self.right), whole(self.left).mT):
            seen = torch.where(trained[..., None], vectors, vectors.detach()) * used[..., None]
            away = seen @ seen.mT - torch.diag_embed(used.to(seen.dtype))
            norms.append(torch.linalg.vector_norm(away, dim=(-2, -1)).flatten())
        return torch.cat(norms)

    def grow(self, rank: Int[Tensor, "*batch"], born: int) -> None:
        """Let the reserve join up to `rank`, with a fresh one behind it; what is new trains from step `born` on."""
        joins = self._first(rank) & (self.born_e < 0)
        start = _RESERVE if self.method.advance_learn else 0.0
        e = local(self.e)
        e.copy_(torch.where(shard_of(joins, self.e), start, e))
        self.born_e[joins] = born
        ahead = self.method.increment if self.method.advance_learn else 0
        self.born_vectors[self._first(rank + ahead) & (self.born_vectors < 0)] = born
        self.rank.copy_(rank)
        self.reserve.fill_(self.method.increment)

    def rows(self) -> list[Rows]:
        """What starts to train in the middle."""
        return [
            Rows(self.left, self.born_vectors),
            Rows(self.e, self.born_e),
            Rows(self.right, self.born_vectors, dim=-2),
        ]

    def each(self) -> range:
        """One index for each matrix of the weight."""
        return range(self.rank.numel())

    def _first(self, count: Int[Tensor, "*batch"]) -> Tensor:
        return torch.arange(self.e.shape[-1], device=count.device) < count[..., None]

    def _used(self) -> Tensor:
        return self._first(self.rank + self.reserve)


def _adapters(training: Training) -> list[IncreLoRAAdapter]:
    return list(training.adapters.values())  # type: ignore[arg-type]

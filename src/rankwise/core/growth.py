# SPDX-License-Identifier: Apache-2.0
"""A common budget of ranks that is dealt out while training: weights start small, and the important ones get more.

    event in step t (counted from 0):   t > init_warmup,  t % incre_interval == 0,  sum of ranks < target_rank * weights
    event:   the most important weights gain `incre_rank_num` ranks each, until the budget is met exactly

Here are the events, the budget and the tensors, which have the largest rank from the start and are masked, so that
nothing joins the optimizer later; `rankwise.core.rows` tells how a component starts in the middle. A method says what
is important and how many weights grow. Ranks never shrink.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from rankwise.core.adapter import Factored
from rankwise.core.budget import allocate
from rankwise.core.method import Method
from rankwise.core.rows import FROZEN, Multiplier, Rows, hold, linear_from_birth, settle
from rankwise.core.sharded import whole
from rankwise.core.targets.base import Target
from rankwise.errors import MethodError

if TYPE_CHECKING:
    from rankwise.core.training import Training

START = 0.02  # standard deviation of the vectors
_EPS = 1e-5  # in the divisor


@dataclass(frozen=True)
class Growing(Method):
    """A method whose weights start at `rank` and grow, event by event, to `target_rank` on average.

    Attributes:
        rank: rank of every weight at the start.
        target_rank: mean rank of the weights at the end.
        alpha: scale of the product; the delta is multiplied by alpha / r.
        dropout: probability of zeroing entries of the adapter's input in training.
        init_warmup: steps without growth at the start; also the length of a late component's warm-up.
        incre_interval: steps from one event to the next.
        incre_rank_num: rank that a weight gains at an event; None takes half of `target_rank`.
        orthogonality: weight of the regularizer, the mean of ||A A^T - 1||_F over all factors A.
        max_rank: the largest rank a weight can reach; None takes 4 * target_rank, or min(out, in) where that is less.
        total_steps: length of training. Late components then have a linear warm-up and decay of their own up to there;
            None gives them the optimizer's learning rate.

    Raises:
        MethodError: if a field is out of range, there is nothing to grow, or no event comes before `total_steps`.
    """

    scheduled: ClassVar[bool] = True

    rank: int = 1
    target_rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    init_warmup: int = 100
    incre_interval: int = 100
    incre_rank_num: int | None = None
    orthogonality: float = 0.1
    max_rank: int | None = None
    total_steps: int | None = None

    def validate(self) -> None:
        """Check ranges, and that growth can happen."""
        name = type(self).__name__
        for field, bound in (("rank", 1), ("incre_interval", 1), ("init_warmup", 0), ("orthogonality", 0)):
            self.at_least(field, bound)
        if self.incre_rank_num is not None:
            self.at_least("incre_rank_num", 1)
        self.above("alpha", 0)
        self.probability("dropout")
        if self.target_rank <= self.rank:
            raise MethodError(
                f"{name} grows from rank = {self.rank} to a mean of target_rank = {self.target_rank}; give a "
                "target_rank above rank, or use LoRA."
            )
        if self.max_rank is not None and self.max_rank < self.target_rank:
            raise MethodError(f"{name}.max_rank {self.max_rank} is below target_rank {self.target_rank}.")
        first = (self.init_warmup // self.incre_interval + 1) * self.incre_interval
        if self.total_steps is not None and first >= self.total_steps:
            raise MethodError(
                f"{name} would first grow in step {first} (counted from 0), but total_steps is {self.total_steps}; "
                "lower init_warmup or incre_interval."
            )

    @property
    def increment(self) -> int:
        """The rank that a weight gains at an event."""
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

    def scaling(self, rank: Tensor, dtype: torch.dtype, *, fixed: bool) -> Float[Tensor, "*batch"]:
        """Alpha / r for the present ranks, or alpha / target_rank if the scale is to be `fixed`."""
        divisor = torch.full_like(rank, self.target_rank) if fixed else rank
        return self.alpha / (divisor.to(dtype) + _EPS)

    def penalty(self, training: "Training") -> Tensor | None:
        """The regularizer of all factors."""
        if self.orthogonality == 0:
            return None
        distances = [one.distances() for one in growing(training)]
        return self.orthogonality * torch.cat([one.to(distances[0].device) for one in distances]).mean()

    def before_step(self, training: "Training") -> None:
        """Grow if it is time to, and remember what must not move in the step."""
        adapters, schedule = growing(training), training.schedule
        if training.step == 0:
            schedule["total_rank"] = torch.stack([one.rank.sum().cpu() for one in adapters]).sum()
            self.begin(training)
        budget = self.target_rank * sum(one.rank.numel() for one in adapters)
        if int(schedule["total_rank"]) < budget:
            self.watch(training)
            if training.step > self.init_warmup and training.step % self.incre_interval == 0:
                self._grow(training, budget)
        if int(schedule["total_rank"]) >= budget:
            self.finish(training)
        hold(training, [rows for one in adapters for rows in one.rows()])

    def after_step(self, training: "Training") -> None:
        """Put components where they belong that do not train yet, or that started late."""
        settle(training, [rows for one in growing(training) for rows in one.rows()], self.late())

    def late(self) -> Multiplier | None:
        """The learning rate of components that started late; None for the optimizer's."""
        return None if self.total_steps is None else linear_from_birth(self.init_warmup, self.total_steps)

    def begin(self, training: "Training") -> None:
        """What happens before the first step."""

    def watch(self, training: "Training") -> None:
        """What happens in every step as long as the budget is not met."""

    @abstractmethod
    def ranking(self, training: "Training") -> Float[Tensor, " n"]:
        """How important each matrix is; asked for once at an event."""

    @abstractmethod
    def how_many(self, step: int, left: int) -> int:
        """How many matrices grow at an event when `left` ranks of the budget are left."""

    def finish(self, training: "Training") -> None:
        """What happens in every step, before it, once the budget is met."""

    def _grow(self, training: "Training", budget: int) -> None:
        adapters = growing(training)
        ranks = torch.cat([one.rank.flatten().cpu() for one in adapters]).tolist()
        limits = [one.limit for one in adapters for _ in range(one.rank.numel())]
        top = self.how_many(training.step, budget - sum(ranks))
        ranks = allocate(self.ranking(training), ranks, limits, top=top, gain=self.increment, budget=budget)
        training.schedule["total_rank"] = torch.tensor(sum(ranks))
        parts = torch.tensor(ranks).split([one.rank.numel() for one in adapters])
        for one, part in zip(adapters, parts, strict=True):
            one.grow(part.reshape(one.rank.shape).to(one.rank), training.step + 1)


class GrowingAdapter(Factored):
    """The components of one weight: `rank` that act, then those that wait.

    Attributes:
        left: [*batch, out, most], with `most` the largest rank and a reserve, if the method has one.
        right: [*batch, most, in].
        rank: how many components act, for each matrix of the weight.
        born_vectors: when the columns of left and the rows of right began to train; see `Rows.born`.
        limit: the largest rank.
    """

    rank: Tensor
    born_vectors: Tensor

    def __init__(self, target: Target, method: Growing, generator: torch.Generator, reserve: int = 0) -> None:
        super().__init__(target)
        self.dropout, self.limit = method.dropout, method.limit(target)
        most, batch = self.limit + reserve, target.batch
        self.left = nn.Parameter(START * torch.randn(*batch, target.out_features, most, generator=generator))
        self.right = nn.Parameter(START * torch.randn(*batch, most, target.in_features, generator=generator))
        born = torch.where(torch.arange(most) < method.rank, 0, FROZEN)
        self.register_buffer("rank", torch.full(batch, method.rank))
        self.register_buffer("born_vectors", born.expand(*batch, most).clone())

    def distances(self) -> Float[Tensor, " n"]:
        """||A A^T - 1||_F of both factors of every matrix, on the components that are used."""
        used, trained = self.used(), self.born_vectors >= 0
        norms = []
        for vectors in (whole(self.right), whole(self.left).mT):
            seen = torch.where(trained[..., None], vectors, vectors.detach()) * used[..., None]
            away = seen @ seen.mT - torch.diag_embed(used.to(seen.dtype))
            norms.append(torch.linalg.vector_norm(away, dim=(-2, -1)).flatten())
        return torch.cat(norms)

    def grow(self, rank: Int[Tensor, "*batch"], born: int, ahead: int = 0) -> None:
        """Let components act up to `rank`; what is new, and the next `ahead`, trains from step `born` on."""
        self.born_vectors[self.first(rank + ahead) & (self.born_vectors < 0)] = born
        self.rank.copy_(rank)

    def rows(self) -> list[Rows]:
        """What starts to train in the middle."""
        return [Rows(self.left, self.born_vectors), Rows(self.right, self.born_vectors, dim=-2)]

    def used(self) -> Bool[Tensor, "*batch most"]:
        """The components whose vectors are regularized."""
        return self.first(self.rank)

    def first(self, count: Int[Tensor, "*batch"]) -> Bool[Tensor, "*batch most"]:
        """The first `count` components of each matrix."""
        return torch.arange(self.born_vectors.shape[-1], device=count.device) < count[..., None]


def growing(training: "Training") -> list[GrowingAdapter]:
    """The adapters of a method that grows."""
    return list(training.adapters.values())  # type: ignore[arg-type]

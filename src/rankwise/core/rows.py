# SPDX-License-Identifier: Apache-2.0
"""Components that start to train in the middle of a run, inside tensors that keep their shape.

A component is a row of the right factor, a column of the left one and an entry of what stands between them. One that
does not train yet must not move at all: no weight decay, no momentum. One that is born in the middle must move as a
new parameter would, with an optimizer state of its own that starts at zero. For Adam and its u-th update that is

    w <- w - lr wd w - lr (m / (1 - beta1^u)) / (sqrt(v / (1 - beta2^u)) + eps),     lr = peak * multiplier(born, step)

where torch's optimizer put the count of the whole tensor in place of u and its group's learning rate in place of lr.
So a method calls `hold` at the end of its `before_step`, and `settle` in its `after_step`, which puts such rows where
they belong (AdamW's decoupled decay scales with lr alone; Adam's own is part of m). Rows that train from the start are
left to the optimizer, bit for bit. torch's Adam, AdamW and SGD are known; every other optimizer is refused.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from rankwise.core.sharded import local, shard_of
from rankwise.errors import StateError

if TYPE_CHECKING:
    from rankwise.core.training import Training

FROZEN = -1  # the birthday of a row that does not train yet

Multiplier = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Rows:
    """The components of one tensor.

    Attributes:
        parameter: the tensor.
        born: how many steps had been taken before each component's first update: 0 for those that train from the
            start, `FROZEN` for those that do not train yet. One that joins in step t, when the gradients of that step
            are there already, is born at t + 1.
        dim: the dimension of the tensor that counts components, -1 or -2.
    """

    parameter: nn.Parameter
    born: Int[Tensor, "*batch rows"]
    dim: int = -1

    def spread(self, values: Tensor) -> Tensor:
        """One value for each component, shaped to go with this process's part of the tensor."""
        if self.parameter.ndim > values.ndim:
            values = values.unsqueeze(-1 if self.dim == -2 else -2)
        return shard_of(values, self.parameter)


@torch.no_grad()
def hold(training: "Training", rows: list[Rows]) -> None:
    """Remember tensors as they are before the optimizer's step.

    Raises:
        StateError: if the optimizer is none of torch's Adam, AdamW and SGD.
    """
    if not isinstance(training.optimizer, Adam | AdamW | SGD):
        raise StateError(
            f"{type(training.installed.method).__name__} lets parts of a tensor start to train later, with an "
            "optimizer state of their own, which is known for torch's Adam, AdamW and SGD, not for "
            f"{type(training.optimizer).__name__}; use one of these."
        )
    training.kept = {one.parameter: local(one.parameter).clone() for one in rows}


@torch.no_grad()
def settle(training: "Training", rows: list[Rows], multiplier: Multiplier | None = None) -> None:
    """After the optimizer's step, put rows back that do not train yet, and move late ones as new parameters would move.

    The optimizer's state of rows that do not train yet is set to zero in place.

    Args:
        training: the run.
        rows: what `hold` was called with.
        multiplier: the learning rate of late rows as a share of the group's initial one, from their birthdays and the
            step; None gives them the group's learning rate.

    Raises:
        StateError: if SGD's learning rate is zero in a step in which that of a late row is not.
    """
    optimizer = training.optimizer
    assert optimizer is not None
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    alike: dict[tuple, list[Rows]] = {}
    for one in rows:
        if one.parameter.grad is not None:  # otherwise the optimizer left it alone
            key = (id(groups[id(one.parameter)]), one.parameter.dtype, one.parameter.device)
            alike.setdefault(key, []).append(one)
    for some in alike.values():
        _settle(some, training, groups[id(some[0].parameter)], multiplier)
    training.kept = {}


def linear_from_birth(warmup: int, total: int) -> Multiplier:
    """A learning rate that rises linearly over `warmup` steps after birth, then falls linearly to 0 at step `total`."""

    def multiplier(born: Tensor, step: int) -> Tensor:
        age = (step - born).double()
        falling = (total - step) / (total - born - warmup).clamp(min=1).double()
        return torch.where(age < warmup, age / max(1, warmup), falling.clamp(min=0))

    return multiplier


def _settle(rows: list[Rows], training: "Training", group: dict[str, Any], multiplier: Multiplier | None) -> None:
    """Settle tensors of one group, dtype and device; what each row needs is computed for all of them at once."""
    born = torch.cat([one.born.flatten() for one in rows])
    age = training.step + 1 - born
    trains = (born >= 0) & (age > 0)
    since_start = trains & (born == 0)
    rate = group["lr"] * (trains & ~since_start).double()
    if multiplier is not None:  # "initial_lr" is where a scheduler of torch's began
        rate = group.get("initial_lr", group["lr"]) * multiplier(born, training.step) * (trains & ~since_start)
    late = _Sgd(training, group, rate) if isinstance(training.optimizer, SGD) else _Adam(training, group, rate)
    factors = [one.to(rows[0].parameter.dtype) for one in late.factors(rows, age)]
    sizes = [one.born.numel() for one in rows]
    for one, pieces in zip(
        rows, zip(*(f.split(sizes) for f in (trains, since_start, *factors)), strict=True), strict=True
    ):
        acts, first, *own = [one.spread(piece.reshape(one.born.shape)) for piece in pieces]
        new, old = local(one.parameter), training.kept[one.parameter]
        new.copy_(torch.where(first, new, torch.where(acts, late.moved(one, old, *own), old)))
        for value in _state(one, training).values():
            if isinstance(value, Tensor) and value.shape == one.parameter.shape:
                local(value).masked_fill_(~acts, 0)


@dataclass(frozen=True)
class _Adam:
    """w - rate (wd w + (m / (1 - beta1^u)) / (sqrt(v / (1 - beta2^u)) + eps))."""

    training: "Training"
    group: dict[str, Any]
    rate: Tensor

    def factors(self, rows: list[Rows], age: Tensor) -> tuple[Tensor, ...]:
        """What the old value, m and v are multiplied by."""
        sizes = torch.tensor([one.born.numel() for one in rows])
        counts = torch.stack([_state(one, self.training)["step"].cpu() for one in rows]).repeat_interleave(sizes)
        updates = torch.minimum(age.clamp(min=1), counts.to(age)).double()  # an optimizer made later counts fewer
        beta1, beta2 = self.group["betas"]
        decoupled = self.group.get("decoupled_weight_decay", isinstance(self.training.optimizer, AdamW))
        decay = self.group["weight_decay"] if decoupled else 0.0
        return 1 - decay * self.rate, self.rate / (1 - beta1**updates), 1 / (1 - beta2**updates)

    def moved(self, one: Rows, old: Tensor, keep: Tensor, gain: Tensor, widen: Tensor) -> Tensor:
        """The rows after the step."""
        state = _state(one, self.training)
        variance = local(state["max_exp_avg_sq" if self.group["amsgrad"] else "exp_avg_sq"])
        return old * keep - local(state["exp_avg"]) * gain / ((variance * widen).sqrt_().add_(self.group["eps"]))


@dataclass(frozen=True)
class _Sgd:
    """SGD counts nothing: the optimizer's own move, at another learning rate."""

    training: "Training"
    group: dict[str, Any]
    rate: Tensor

    def factors(self, rows: list[Rows], age: Tensor) -> tuple[Tensor, ...]:
        """What the optimizer's move is multiplied by."""
        if self.group["lr"] == 0 and bool((self.rate != 0).any()):
            raise StateError(
                f"the learning rate of adapter {self.training.name!r} is 0 at step {self.training.step}, but not that "
                "of rows that started later, whose move is lost then; let the schedule end where total_steps does."
            )
        return (self.rate / (self.group["lr"] or 1.0),)

    def moved(self, one: Rows, old: Tensor, gain: Tensor) -> Tensor:
        """The rows after the step."""
        return old + gain * (local(one.parameter) - old)


def _state(rows: Rows, training: "Training") -> dict[str, Any]:
    assert training.optimizer is not None
    return training.optimizer.state[rows.parameter]

# SPDX-License-Identifier: Apache-2.0
"""What happens to an adapter at every optimizer step.

`attach` registers two hooks on the optimizer, so any training loop runs a method's schedule. Decided here once, for all
methods: the step counter, the audit of the first step, the penalty as a gradient, and the averaging of scores over
micro-batches and processes with the loss scale taken out.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankwise.core.adapter import Adapter
from rankwise.core.scores import start_scores, stop_scores
from rankwise.core.sharded import is_sharded, local
from rankwise.core.slot import Installed
from rankwise.errors import StateError, listed


@dataclass
class Training:
    """What a method sees of training.

    Attributes:
        name: the adaptation's name.
        installed: the method and its schedule state, saved with the adapter.
        adapters: the adapters by target name.
        optimizer: the optimizer that steps, None outside a step.
        loss_scale: what the loss was multiplied with, by which scores are divided.
        kept: tensors as they were before the step that is running; see `rankwise.core.rows`.
    """

    name: str
    installed: Installed
    adapters: dict[str, Adapter]
    optimizer: torch.optim.Optimizer | None = None
    loss_scale: Callable[[], float] = field(default=lambda: 1.0)
    kept: dict[nn.Parameter, Tensor] = field(default_factory=dict)

    @property
    def shared(self) -> nn.Module | None:
        """What the adapters share."""
        return self.installed.shared

    @property
    def schedule(self) -> dict[str, Tensor]:
        """The schedule's tensors by name; they are saved and restored with the adapter."""
        return self.installed.schedule

    @property
    def step(self) -> int:
        """How many optimizer steps were taken before this one."""
        return int(self.schedule.get("step", torch.zeros((), dtype=torch.int64)))

    def mean(self, scores: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Scores without the loss scale, averaged over all processes."""
        scores = scores / self.loss_scale()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            scores = scores.clone()
            torch.distributed.all_reduce(scores)
            scores /= torch.distributed.get_world_size()
        return scores

    def group(self, parameter: nn.Parameter) -> dict:
        """The optimizer's group that holds a parameter.

        Raises:
            StateError: if the optimizer does not hold it.
        """
        groups = [] if self.optimizer is None else self.optimizer.param_groups
        for group in groups:
            if any(other is parameter for other in group["params"]):
                return group
        raise StateError(f"the optimizer of adapter {self.name!r} does not hold one of its tensors.")


class Attachment:
    """The hooks of one adaptation on one optimizer."""

    def __init__(self, training: Training, optimizer: torch.optim.Optimizer, *, penalty: bool, audit: bool) -> None:
        self.training, self.penalty, self.audit = training, penalty, audit
        training.optimizer = optimizer
        self.handles = [
            optimizer.register_step_pre_hook(lambda *_: self._before()),
            optimizer.register_step_post_hook(lambda *_: self._after()),
        ]
        start_scores(training)

    def detach(self) -> None:
        """Take the hooks off."""
        for handle in self.handles:
            handle.remove()
        stop_scores(self.training)

    def _before(self) -> None:
        training = self.training
        if self.audit:
            audit(training)
            self.audit = False
        method = training.installed.method
        with torch.enable_grad():
            value = method.penalty(training) if self.penalty else None
        if method.scheduled or value is not None:
            _require_unscaled(training)
        if value is not None:
            _accumulate(value, trainable(training))
        with torch.no_grad():
            method.before_step(training)

    def _after(self) -> None:
        with torch.no_grad():
            self.training.installed.method.after_step(self.training)
        self.training.schedule["step"] = torch.tensor(self.training.step + 1)


def trainable(training: Training) -> list[tuple[str, nn.Parameter]]:
    """The tensors of an adaptation that train, with names for messages."""
    named = [(f"{name}.{key}", p) for name, a in training.adapters.items() for key, p in a.named_parameters()]
    if training.shared is not None:
        named += [(f"shared.{key}", p) for key, p in training.shared.named_parameters()]
    return [(name, p) for name, p in named if p.requires_grad]


def audit(training: Training) -> None:
    """Check that the backward pass reached every adapter.

    Raises:
        StateError: if a tensor got no gradient, or all gradients of an adapter are exactly zero.
    """
    named = trainable(training)
    without = [name for name, p in named if p.grad is None]
    if without:
        raise StateError(
            f"adapter {training.name!r}: {len(without)} of {len(named)} tensors got no gradient in the first backward "
            f"pass: {listed(without)}. Either their layers are never called in forward, or something cuts the graph "
            "(torch.no_grad, detach, activation checkpointing without enable_input_require_grads). Fix that, or leave "
            "those layers out of targets."
        )
    owners: dict[str, list[nn.Parameter]] = {}
    for name, parameter in named:
        owners.setdefault(name.rsplit(".", 1)[0] if not name.startswith("shared.") else "shared", []).append(parameter)
    dead = [owner for owner, parameters in owners.items() if not _any_gradient(parameters)]
    if dead and ("shared" not in owners or len(dead) == len(owners)):  # what shares may wait for each other's turn
        raise StateError(
            f"adapter {training.name!r}: every gradient is exactly zero after the first backward pass at "
            f"{listed(dead)}. The adapter cannot learn there: look for a zero loss, masked "
            "labels, or a layer whose output is unused."
        )


def require_held(optimizer: torch.optim.Optimizer, named: Iterable[tuple[str, nn.Parameter]], adapter: str) -> None:
    """Check that an optimizer holds all of an adaptation's tensors.

    Raises:
        StateError: if it misses some.
    """
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    missing = [name for name, p in named if id(p) not in held]
    if missing:
        raise StateError(
            f"the optimizer does not hold {len(missing)} tensors of adapter {adapter!r}: {listed(missing)}. Build it "
            "after adapt(), from adaptation.parameters()."
        )


def _require_unscaled(training: Training) -> None:
    if vars(training.optimizer).get("found_inf") is not None:  # a gradient scaler leaves it there during such a step
        raise StateError(
            f"the fused optimizer of adapter {training.name!r} takes the loss scale out of the gradients, and skips a "
            "step, only inside its kernel, too late for the method's schedule and penalty; build it with fused=False."
        )


def _any_gradient(parameters: list[nn.Parameter]) -> bool:
    gradients = [local(p.grad) for p in parameters if p.grad is not None]
    found = torch.stack([(g != 0).any() for g in gradients])
    if any(is_sharded(p) for p in parameters):
        count = found.any().to(torch.int64)
        torch.distributed.all_reduce(count)
        return bool(count)
    return bool(found.any())


def _accumulate(value: Tensor, named: list[tuple[str, nn.Parameter]]) -> None:
    parameters = [p for _, p in named]
    gradients = torch.autograd.grad(value, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)

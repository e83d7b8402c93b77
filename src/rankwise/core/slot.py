# SPDX-License-Identifier: Apache-2.0
"""The adapters on one weight, and the arithmetic of several at once.

    y = base + sum_i scale_i * (adapter_i(x, base) - base)        over the active adapters, or
    y[rows of a] = the same with adapter a alone                  in a mixed batch

All slots of one model share one `Runtime`: which adapters are active, at what scale, and the current context.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankwise.core.adapter import Adapter, Factored
from rankwise.core.context import Context
from rankwise.core.method import Method
from rankwise.core.targets.base import Target
from rankwise.errors import StateError, nearest

if TYPE_CHECKING:
    from rankwise.core.training import Attachment


@dataclass
class Installed:
    """One named adapter of a model, beside its tensors.

    Attributes:
        method: its hyperparameters.
        seed: the seed it was built from.
        scale: its delta's weight in the sum.
        active: whether it takes part.
        merged: whether its delta is in the base weights now.
        merged_in: the context in which it was merged, with the values that its delta had there.
        ranks: ranks given for some targets, by name suffix; 0 for a weight that got no adapter.
        attachment: the optimizer hooks that run its schedule, None if there are none.
        schedule: the state of the method's schedule: counters and tensors by name.
        shared: what its adapters share.
    """

    method: Method
    seed: int
    scale: float = 1.0
    active: bool = True
    merged: bool = False
    merged_in: Context | None = None
    ranks: dict[str, int] = field(default_factory=dict)
    attachment: "Attachment | None" = None
    schedule: dict[str, Tensor] = field(default_factory=dict)
    shared: nn.Module | None = None

    def __getstate__(self) -> dict:
        return self.__dict__ | {"attachment": None}  # a copy has no optimizer


@dataclass
class Runtime:
    """What all slots of one model share.

    Attributes:
        installed: the adapters by name.
        context: the context that is entered now.
        routed: whether the last training forward ran in a context (its recomputation needs the same one).
        trainable: requires_grad of each base parameter before the first adapter froze it, by name.
        rearranging: names of the 4-bit layers that rearranged their weights for inference until the first adapter came.
    """

    installed: dict[str, Installed] = field(default_factory=dict)
    context: Context | None = None
    routed: bool = False
    trainable: dict[str, bool] = field(default_factory=dict)
    rearranging: list[str] = field(default_factory=list)

    def current_context(self) -> Context | None:
        """The context that is entered now.

        Raises:
            StateError: in a backward pass that recomputes a forward pass whose context was left too early.
        """
        if torch.compiler.is_compiling():
            return self.context
        if torch._C._current_graph_task_id() == -1:
            if torch.is_grad_enabled():
                self.routed = self.context is not None
        elif self.context is None and self.routed:
            raise StateError(
                "activation checkpointing recomputes a forward pass that ran inside adaptation.context(...), but that "
                "context has been left; call backward() inside the `with` block too."
            )
        return self.context

    @contextmanager
    def entered(self, context: Context | None) -> Iterator[None]:
        """Run with `context` in place of the current one; re-entrant."""
        outer, self.context = self.context, context
        try:
            yield
        finally:
            self.context = outer

    def require(self, name: str) -> Installed:
        """The adapter of that name.

        Raises:
            StateError: if there is none.
        """
        if name not in self.installed:
            raise StateError(f"this model has no adapter {name!r}. {nearest(name, self.installed)}")
        return self.installed[name]

    def plan(self, names: list[str], context: Context | None) -> list[tuple[str, float]]:
        """Which of `names` act in this forward and at what scale, outside a mixed batch."""
        if context is not None and context.adapters is not None:
            names = [name for name in names if name == context.adapters[0]]
            return [(name, self.installed[name].scale) for name in names if not self.installed[name].merged]
        chosen = [(name, self.installed[name]) for name in names]
        return [(name, one.scale) for name, one in chosen if one.active and not one.merged and one.scale != 0.0]


class Slot(nn.ModuleDict):
    """The adapters on one weight, by name."""

    target: Target
    runtime: Runtime

    def __init__(self, target: Target, runtime: Runtime) -> None:
        super().__init__()
        object.__setattr__(self, "target", target)
        object.__setattr__(self, "runtime", runtime)

    def adapter(self, name: str) -> Adapter:
        """The adapter of that name."""
        return cast(Adapter, self[name])

    def output(self, x: Tensor, base: Tensor) -> Tensor:
        """The layer's output with the adapters, from its input and its own output."""
        self._require_attached()
        context = self.runtime.current_context()
        if context is not None and context.adapters is not None and len(context.adapters) > 1:
            return self._mixed(x, base, context)
        return self._summed(x, base, self.runtime.plan(list(self), context))

    def weight(self, base: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The weight with the adapters' deltas, in the module's own layout and the base's dtype."""
        return self._plus(base, [(scale, adapter.delta()) for scale, adapter in self._adapters()])

    def bias(self, base: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The bias with the adapters' bias deltas."""
        changed = base
        for scale, adapter in self._adapters():
            delta = adapter.bias_delta()
            if delta is not None:
                channels = self.target.bias_channels
                changed = changed.clone() if changed is base else changed
                changed[channels] = changed[channels] + (scale * delta).to(base.dtype)
        return changed

    def _require_attached(self) -> None:
        if not (self.training and torch.is_grad_enabled()):
            return
        for name in self:
            one = self.runtime.installed[name]
            if one.method.scheduled and one.attachment is None and one.active:
                raise StateError(
                    f"{type(one.method).__name__} changes over training and would silently stay at its start; call "
                    f"adaptation.attach(optimizer) for adapter {name!r} before the first training step."
                )

    def _adapters(self) -> list[tuple[float, Adapter]]:
        self._require_attached()
        context = self.runtime.current_context()
        if context is not None and context.adapters is not None and len(context.adapters) > 1:
            raise StateError(
                f"{self.target.name!r} is read outside the forward of the module that was adapted, where one weight "
                "cannot serve examples with different adapters; run the examples of each adapter by themselves."
            )
        plan = self.runtime.plan(list(self), context)
        return [(scale, self.adapter(name)) for name, scale in plan]

    def _plus(self, base: Tensor, deltas: list[tuple[float, Tensor]]) -> Tensor:
        for scale, delta in deltas:
            base = base + self.target.to_storage(delta if scale == 1.0 else delta * scale).to(base.dtype)
        return base

    def _summed(self, x: Tensor, base: Tensor, plan: list[tuple[str, float]]) -> Tensor:
        chosen = [(self.adapter(name), scale) for name, scale in plan]
        if len(chosen) == 1 and chosen[0][1] == 1.0 and not _adds_product(chosen[0][0]):
            return chosen[0][0](x, base)
        fresh = not any(adapter.reads_output for adapter, _ in chosen)  # nobody needs `base` after this
        output = base
        for adapter, scale in chosen:
            if isinstance(adapter, Factored) and _adds_product(adapter):
                output = adapter.add(x, output, scale, inplace=fresh or output is not base, own=output is base)
            else:
                output = output + scale * (adapter(x, base.clone()) - base)
        return output

    def _mixed(self, x: Tensor, base: Tensor, context: Context) -> Tensor:
        dim, output = context.batch_dim, base
        for name, rows in context.rows(x.shape[dim], x.device):
            if name is None or name not in self or self.runtime.installed[name].merged:
                continue
            with self.runtime.entered(context.part(rows, x.shape[dim])):
                plan = [(name, self.runtime.installed[name].scale)]
                part = self._summed(x.index_select(dim, rows), base.index_select(dim, rows), plan)
            output = output.index_copy(dim, rows, part)
        return output


def _adds_product(adapter: Adapter) -> bool:
    """Whether a factored adapter's forward is nothing but the product."""
    return isinstance(adapter, Factored) and type(adapter).forward is Factored.forward

# SPDX-License-Identifier: Apache-2.0
"""The handle on one named adapter of a model: everything a user does after `adapt`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from rankwise.core import checkpoint, merge
from rankwise.core.adapter import Adapter
from rankwise.core.context import make_context
from rankwise.core.convert import best_factors, fitted_rank, require_convertible
from rankwise.core.layer import SLOTS, slots, uninstall
from rankwise.core.merge import MergeReport
from rankwise.core.method import Method
from rankwise.core.place import assemble, place
from rankwise.core.quantized import allow_rearranging
from rankwise.core.select import clean
from rankwise.core.slot import Installed, Runtime, Slot
from rankwise.core.summary import Summary, summarize
from rankwise.core.targets import Target
from rankwise.core.training import Attachment, Training, require_held, trainable
from rankwise.errors import StateError, listed, nearest


@dataclass(frozen=True)
class Conversion:
    """The result of `Adaptation.convert`.

    Attributes:
        adaptation: the handle on the new adapter.
        relative_error: ||delta - new delta||_F / ||delta||_F by target name.
    """

    adaptation: "Adaptation"
    relative_error: dict[str, float]


class Adaptation:
    """One named adapter on a model.

    Attributes:
        model: the adapted model.
        name: the adapter's name.
    """

    def __init__(self, model: nn.Module, name: str, runtime: Runtime) -> None:
        self.model, self.name, self._runtime = model, name, runtime

    def __repr__(self) -> str:
        return f"Adaptation({self.name!r}, {self.method}, {len(self.adapters)} targets)"

    @property
    def method(self) -> Method:
        """The method and its hyperparameters."""
        return self._installed.method

    @property
    def targets(self) -> dict[str, Target]:
        """The adapted weights by name."""
        return {slot.target.name: slot.target for slot in self._slots}

    @property
    def adapters(self) -> dict[str, Adapter]:
        """The adapters by target name."""
        return {slot.target.name: slot[self.name] for slot in self._slots}  # type: ignore[misc]

    @property
    def shared(self) -> nn.Module | None:
        """What the adapters share, None if nothing."""
        return self._installed.shared

    @property
    def scale(self) -> float:
        """The weight of this adapter's delta in the sum; 1 unless set."""
        return self._installed.scale

    @scale.setter
    def scale(self, value: float) -> None:
        self._require_unmerged("change the scale of")
        self._installed.scale = float(value)

    @property
    def active(self) -> bool:
        """Whether the adapter takes part in the forward pass."""
        return self._installed.active

    @active.setter
    def active(self, value: bool) -> None:
        self._installed.active = bool(value)

    @property
    def merged(self) -> bool:
        """Whether the base weights hold this adapter's delta now."""
        return self._installed.merged

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The adapter's trainable tensors with their names."""
        yield from trainable(self._training())

    def parameters(self) -> Iterator[nn.Parameter]:
        """The adapter's trainable tensors, for an optimizer."""
        yield from (parameter for _, parameter in self.named_parameters())

    def attach(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        scaler: "torch.amp.GradScaler | None" = None,
        penalty: bool = True,
        audit: bool = True,
    ) -> None:
        """Run the method's schedule and penalty at every step of an optimizer.

        Args:
            optimizer: must hold all of this adapter's tensors.
            scaler: the loss scaler of mixed precision, so that scores are taken without its scale.
            penalty: whether to add the gradient of the method's penalty before each step; False if `penalty()` is
                added to the loss by hand.
            audit: whether to check, before the first step, that every tensor got a gradient.

        Raises:
            StateError: if the optimizer misses tensors or a schedule is attached already; at the first step, if the
                backward pass did not reach an adapter.
        """
        if self._installed.attachment is not None:
            raise StateError(f"adapter {self.name!r} is attached to an optimizer already; call detach() first.")
        require_held(optimizer, self.named_parameters(), self.name)
        training = self._training()
        if scaler is not None:
            training.loss_scale = scaler.get_scale
        self._installed.attachment = Attachment(training, optimizer, penalty=penalty, audit=audit)

    def detach(self) -> None:
        """Take the schedule off the optimizer; its state stays with the adapter."""
        if self._installed.attachment is not None:
            self._installed.attachment.detach()
        self._installed.attachment = None

    def penalty(self) -> Tensor:
        """The method's regularizer as a scalar, to be added to the loss; zero for methods without one.

        Raises:
            StateError: if `attach` adds it already.
        """
        attachment = self._installed.attachment
        if attachment is not None and attachment.penalty:
            raise StateError(
                "attach() adds the penalty's gradient at every step already; use attach(optimizer, penalty=False) to "
                "add penalty() to the loss by hand."
            )
        value = self.method.penalty(self._training())
        return torch.zeros(()) if value is None else value

    def context(
        self,
        adapters: Sequence[str | None] | None = None,
        *,
        batch_dim: int = 0,
        **values: Tensor | float | Sequence[float],
    ):
        """Give the forward passes inside a `with` block what is not in their inputs.

        Args:
            adapters: one adapter name for each example, None for the base alone.
            batch_dim: the dimension of the layers' inputs that counts examples (1 for sequence-first models).
            **values: the methods' inputs, each one number for each example, or one for all.

        Raises:
            StateError: if a name is unknown, or an adapter is merged into the base.
        """
        runtime = self._runtime
        known = {name for one in runtime.installed.values() for name in one.method.inputs}
        for name in values:
            if name not in known:
                raise StateError(f"no adapter of this model reads an input {name!r}. {nearest(name, known)}")
        for name in {name for name in adapters or () if name is not None}:
            runtime.require(name)
        merged = [name for name, one in runtime.installed.items() if one.merged]
        if adapters is not None and merged:
            raise StateError(f"{listed(merged)} is merged into the base; unmerge() before mixing adapters in a batch.")
        return runtime.entered(make_context(adapters, values, batch_dim))

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Run without this adapter; nests, and restores the state also after an error.

        Raises:
            StateError: if the adapter is merged into the base weights.
        """
        self._require_unmerged("disable")
        before, self._installed.active = self._installed.active, False
        try:
            yield
        finally:
            self._installed.active = before

    def merge(self) -> MergeReport:
        """Add the delta to the base weights; the layers then cost what they cost without an adapter.

        Returns:
            Per target, the share of the delta that rounding to the weight's dtype ate.

        Raises:
            StateError: if it is merged already, or a delta is not finite; nothing is changed then.
            TargetError: if a weight is quantized.
        """
        self._require_unmerged("merge")
        self._installed.merged_in = self._runtime.context
        report = merge.merge(self._slots, [*self._merged_names(), self.name])
        self._installed.merged = True
        return report

    def unmerge(self) -> None:
        """Take the delta out again; the base weights get their original bits back.

        Raises:
            StateError: if it is not merged.
        """
        if not self.merged:
            raise StateError(f"adapter {self.name!r} is not merged.")
        merge.merge(self._slots, self._merged_names())
        self._installed.merged = False

    def remove(self) -> None:
        """Take the adapter off the model; a merged delta stays in the weights.

        The model is then the object it was: class, state_dict keys, hooks and, after the last adapter,
        requires_grad flags. This handle is of no use afterwards.
        """
        self.detach()
        kept = [
            slot for slot in self._slots if not any(self._runtime.installed[n].merged for n in slot if n != self.name)
        ]
        for module in self.model.modules():
            children = module._modules.get(SLOTS)
            if isinstance(children, nn.ModuleDict) and f"shared-{self.name}" in children:
                del children[f"shared-{self.name}"]
                if not len(children):
                    del module._modules[SLOTS]
        for slot in self._slots:
            del slot[self.name]
            if self.merged and slot in kept:
                slot.target.original = slot.target.original_bias = None
            if not len(slot):
                uninstall(slot)
        del self._runtime.installed[self.name]
        if not self._runtime.installed:
            for name, parameter in self.model.named_parameters():
                parameter.requires_grad_(self._runtime.trainable[clean(name)])
            names = set(self._runtime.rearranging)
            allow_rearranging(module for name, module in self.model.named_modules() if clean(name) in names)

    def convert(self, method: Method) -> "Conversion":
        """Replace the adapter by the best one of another, factored method, e.g. `LoRA(rank=8)`.

        A rank above what a layer can have is lowered there. The new adapter takes this one's name; this handle is of no
        use afterwards.

        Returns:
            The new handle and the relative error ||delta - new delta||_F / ||delta||_F of each target.

        Raises:
            MethodError: if the method cannot hold a given delta, or would lose a change of the bias.
            StateError: if the adapter is merged.
        """
        self._require_unmerged("convert")
        adapters, scale = self.adapters, self.scale
        ranks = {name: rank for name, one in adapters.items() if (rank := fitted_rank(method, one.target)) is not None}
        best = {name: best_factors(one, ranks.get(name) or method.to_dict()["rank"]) for name, one in adapters.items()}
        require_convertible(method, best)
        dtype = next(parameter.dtype for parameter in self.parameters())
        targets = [one.target for one in adapters.values()]
        parts = assemble(method, targets, ranks=ranks, dtype=dtype, seed=self._installed.seed)
        for name, one in parts.adapters.items():
            one.assign(best[name].left, best[name].right, best[name].bias)
        parts.installed.scale = scale
        model, name = self.model, self.name
        self.remove()
        handle = Adaptation(model, name, place(model, name, parts))
        return Conversion(handle, {name: one.relative_error for name, one in best.items()})

    def save(self, folder: str | Path) -> None:
        """Write the adapter to a folder: adapter.safetensors and adapter.json, all of it or nothing.

        Raises:
            CheckpointError: if the folder cannot be written.
        """
        checkpoint.save(self._record(), Path(folder))

    def summary(self) -> Summary:
        """What is adapted: targets, shapes, trainable parameters."""
        return summarize(self.model, self.name, self._installed, self.adapters)

    @property
    def _installed(self) -> Installed:
        return self._runtime.require(self.name)

    @property
    def _slots(self) -> list[Slot]:
        self._runtime.require(self.name)
        return [slot for slot in slots(self.model) if self.name in slot]

    def _training(self) -> Training:
        return Training(self.name, self._installed, self.adapters)

    def _record(self) -> checkpoint.Record:
        return checkpoint.Record(self._installed, self.adapters)

    def _merged_names(self) -> list[str]:
        return [name for name, one in self._runtime.installed.items() if one.merged and name != self.name]

    def _require_unmerged(self, what: str) -> None:
        if self.merged:
            raise StateError(f"cannot {what} adapter {self.name!r} while it is merged into the base; unmerge() first.")

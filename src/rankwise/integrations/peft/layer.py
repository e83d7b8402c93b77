# SPDX-License-Identifier: Apache-2.0
# PEFT's layers and configurations are known by their attributes at run time, which a type checker cannot see.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false
# pyright: reportCallIssue=false, reportReturnType=false, reportOperatorIssue=false, reportPrivateImportUsage=false
"""The one layer class with which every method enters PEFT.

It wraps any module whose weights rankwise can adapt and leaves the arithmetic to the slots of the core: a layer that
is called gets the adapters' output added, a module that reads its weights runs with the adapted ones in their place.
Reading `weight` or `bias` of the wrapper gives the adapted tensors too, so that a parent that reads them around the
wrapper (attention its output projection, the fused encoder layer all of its parts) computes the same function.
"""

import warnings
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import Tensor, nn

from rankwise.core.adapter import Adapter
from rankwise.core.merge import merge
from rankwise.core.slot import Installed, Slot
from rankwise.errors import StateError, TargetError
from rankwise.integrations.peft.runtime import LayerRuntime, WithDefaults
from rankwise.integrations.peft.swap import require_one_adapter, swapped
from rankwise.integrations.peft.wrapped import moves_bias, own_targets


class RankwiseLayer(nn.Module, BaseTunerLayer):
    """A module of the base with the adapters of one PEFT type on its weights.

    Args:
        base_layer: the module.
        name: its path in the base model.
        prefix: the prefix of the PEFT type.

    Raises:
        TargetError: if the module has no weight that can be adapted.
    """

    def __init__(self, base_layer: nn.Module, name: str, prefix: str) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.slots: dict[str, Slot] = {}  # not registered: the adapters are registered below
        self.scheduled: dict[str, bool] = {}
        self.plain = False  # reads give the stored tensors, for PEFT to set flags on
        self.runtime = LayerRuntime()
        self.adapter_layer_names = (f"{prefix}adapter",)
        self.other_param_names = ()
        self.merged_adapters: list[str] = []
        self._active_adapter: str | list[str] = []
        setattr(self, f"{prefix}adapter", nn.ModuleDict())
        for attr, target in own_targets(base_layer, name).items():
            self.slots[attr] = Slot(target, self.runtime).eval()  # type: ignore[assignment]
        if not self.slots:
            raise TargetError(
                f"{name!r} is a {type(base_layer).__name__}, which holds no matrix and no kernel of its own to adapt; "
                "name the layers inside it, or leave it out of target_modules."
            )
        if isinstance(base_layer, nn.MultiheadAttention) and not isinstance(base_layer.out_proj, RankwiseLayer):
            base_layer.out_proj = RankwiseLayer(base_layer.out_proj, f"{name}.out_proj", prefix)
        first = next(iter(self.slots.values())).target
        self.in_features, self.out_features = first.in_features, first.out_features

    @property
    def adapters(self) -> nn.ModuleDict:
        """The adapters of all weights by adapter name."""
        return getattr(self, self.adapter_layer_names[0])

    @property
    def inner(self) -> "list[RankwiseLayer]":
        """This layer, and the one on the output projection inside an attention."""
        return [self, self.base_layer.out_proj] if isinstance(self.base_layer, nn.MultiheadAttention) else [self]

    def install(
        self,
        name: str,
        adapters: dict[str, Adapter],
        installed: Installed,
        defaults: dict[str, float],
        *,
        scheduled: bool,
    ) -> None:
        """Put one adapter on each weight.

        Args:
            name: its name.
            adapters: the adapters by the attributes of their weights.
            installed: the method.
            defaults: values of per-example inputs where none is given.
            scheduled: whether training without the method's schedule is refused.
        """
        self.remove(name)
        self.runtime.installed[name] = installed
        self.scheduled[name] = scheduled
        for attr, adapter in adapters.items():
            object.__setattr__(adapter, "runtime", WithDefaults(self.runtime, defaults))
            self.slots[attr][name] = adapter
            adapter.register_load_state_dict_post_hook(_restored)
        self.adapters[name] = nn.ModuleDict(adapters).train(self.training)

    def remove(self, name: str) -> None:
        """Take an adapter off, if it is there."""
        self.runtime.installed.pop(name, None)
        self.scheduled.pop(name, None)
        for slot in self.slots.values():
            if name in slot:
                del slot[name]

    def delete_adapter(self, adapter_name: str) -> None:
        """Take an adapter off and choose what is active next, as PEFT does."""
        self.remove(adapter_name)
        super().delete_adapter(adapter_name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's output with the active adapters."""
        slots = self._acting()
        if not slots:
            return self.base_layer(*args, **kwargs)
        first = next(iter(slots.values()))
        if first.target.called:
            base = self.base_layer(*args, **kwargs)
            return first.output(args[0] if args else next(iter(kwargs.values())), base)
        with swapped(self.base_layer, slots):
            return self.base_layer(*args, **kwargs)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add the deltas to the base weights; a delta that is not finite is refused, safe or not.

        Raises:
            ValueError: if a delta is not finite.
        """
        names = [name for name in check_adapters_to_merge(self, adapter_names) if name in self.adapters]
        if not names:
            return
        try:
            merge(list(self.slots.values()), [*self.merged_adapters, *names])
        except StateError as error:
            broken = [name for name in names if self._broken(name)]
            if not broken:
                raise
            message = f"NaNs detected in the merged weights. The adapter {broken[0]} seems to be broken"
            raise ValueError(f"{message}: {error}") from error
        self.merged_adapters.extend(names)

    def _broken(self, name: str) -> bool:
        """Whether an adapter, or what it shares, holds a value that is not finite."""
        shared = self.runtime.installed[name].shared
        parts = [self.adapters[name], *([] if shared is None else [shared])]
        return any(not bool(p.isfinite().all()) for part in parts for p in part.parameters())

    def unmerge(self) -> None:
        """Give the base weights their original bits back."""
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
            return
        self.merged_adapters.clear()
        merge(list(self.slots.values()), [])

    def unload_and_optionally_merge_module(
        self, merge: bool, safe_merge: bool, adapter_names: list[str] | None
    ) -> nn.Module:
        """The wrapped module alone, with the deltas in its weights if `merge`."""
        for layer in self.inner:
            if merge:
                layer.merge(safe_merge=safe_merge, adapter_names=adapter_names)
        if len(self.inner) > 1:
            self.base_layer.out_proj = self.base_layer.out_proj.base_layer
        return self.base_layer

    def get_delta_weight(self, adapter: str) -> Tensor:
        """The delta of one adapter in the weight's own layout.

        Raises:
            StateError: if the module has several weights, or the adapter moves the bias too.
        """
        if not self.supports_lora_conversion(adapter):
            raise StateError(f"{type(self.base_layer).__name__} has no single delta; use rankwise.adapt and convert().")
        (slot,) = self.slots.values()
        return slot.target.to_storage(slot.adapter(adapter).delta())

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        """Whether PEFT's conversion to LoRA holds everything: one matrix that is called, and no bias."""
        if len(self.inner) > 1 or len(self.slots) > 1 or adapter_name not in self.adapters:
            return False
        (slot,) = self.slots.values()
        plain = slot.target.called and len(slot.target.shape) == 2 and slot.target.bias_attr is not None
        return plain and slot[adapter_name].bias_delta() is None

    @property
    def weight(self) -> Tensor:
        """The base weight with the active adapters; as it is stored if it is quantised."""
        return self._read("weight", self.base_layer.weight)

    @property
    def bias(self) -> Tensor | None:
        """The base bias with the active adapters."""
        slot = self._acting().get("weight")
        return self.base_layer.bias if slot is None or not moves_bias(slot) else slot.bias(self.base_layer.bias)

    def __getattr__(self, name: str) -> Any:
        """What the wrapped module has under that name, an adapted weight with its adapters."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base_layer":
                raise
        return self._read(name, getattr(self.base_layer, name))

    def _read(self, attr: str, stored: Any) -> Any:
        slot = self._acting().get(attr)
        if slot is None or slot.target.quantized:
            return stored
        require_one_adapter(slot)
        return slot.weight(stored)

    def _acting(self) -> dict[str, Slot]:
        """The slots by attribute if an adapter of this layer takes part, else none."""
        slots = self.__dict__.get("slots", {})
        if self.disable_adapters and self.merged:
            self.unmerge()
        if self.plain:
            return {}
        active = [] if self.disable_adapters or self.merged else [n for n in self.active_adapters if n in self.adapters]
        for name, one in self.runtime.installed.items():
            one.active = name in active
        if self.training and torch.is_grad_enabled():
            self._require_attached(active)
        return slots if active or (slots and self.runtime.routes(self.adapters)) else {}

    def _require_attached(self, names: list[str]) -> None:
        for name in names:
            one = self.runtime.installed[name]
            if one.method.scheduled and self.scheduled[name] and one.attachment is None:
                raise StateError(
                    f"{type(one.method).__name__} changes over training and would silently stay at its start; call "
                    "rankwise.integrations.peft.schedule.attach(model, optimizer) before the first training "
                    "step, or set "
                    "scheduled=False in its config if that is meant."
                )

    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device: torch.device | None = None) -> None:
        """Move an adapter to where its weight is; its dtype is settled by `autocast_adapter_dtype` alone."""
        if adapter_name in self.adapters:
            self.adapters[adapter_name].to(device or next(iter(self.slots.values())).target.device)


def _restored(adapter: nn.Module, keys: object) -> None:
    """What an adapter checks or builds again once saved tensors are in."""
    if isinstance(adapter, Adapter) and not any(tensor.is_meta for tensor in adapter.parameters()):
        adapter.restored()

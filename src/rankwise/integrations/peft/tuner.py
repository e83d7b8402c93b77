# SPDX-License-Identifier: Apache-2.0
"""The tuner class with which every method enters PEFT.

PEFT hands over one matched module after the other; they are wrapped at once, and all adapters are built together when
PEFT first activates them, so that a method sees all of its targets and can share tensors between them. Whatever fails
takes everything off again.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from peft.tuners.tuners_utils import BaseTuner
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING, AuxiliaryTrainingWrapper
from peft.utils.integrations import skip_init_on_device
from torch import nn

from rankwise.core.adapter import Adapter
from rankwise.core.context import Context
from rankwise.core.method import Method
from rankwise.core.place import with_ranks
from rankwise.core.slot import Installed
from rankwise.integrations.peft.config import RankwiseConfig
from rankwise.integrations.peft.layer import RankwiseLayer
from rankwise.integrations.peft.mixed import adapter_context, names_hook
from rankwise.integrations.peft.start import empty, makes_meta_tensors, scatter


@dataclass
class Pending:
    """An adapter whose layers are being wrapped.

    Attributes:
        name: its name.
        meta: whether its tensors are to be empty, because saved ones will take their place.
        layers: its layers so far.
        fresh: parent, attribute and module of each module that is wrapped for it.
    """

    name: str
    meta: bool
    layers: list[RankwiseLayer] = field(default_factory=list)
    fresh: list[tuple[nn.Module, str, nn.Module]] = field(default_factory=list)


class RankwiseModel(BaseTuner):
    """PEFT's wrapper of a model, for one method; `tuner_class` makes the subclass of each."""

    method_class: ClassVar[type[Method]]
    prefix: str
    tuner_layer_cls = RankwiseLayer
    target_module_mapping = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """Put an adapter on the model, or change nothing."""
        self._pending: Pending | None = Pending(
            adapter_name, makes_meta_tensors(kwargs.get("low_cpu_mem_usage", False))
        )
        pending = self._pending
        flags = [(p, p.requires_grad) for p in self.rankwise_shared.parameters()]
        try:
            super().inject_adapter(model, adapter_name, *args, **kwargs)
        except Exception:
            self._undo(pending)
            raise
        finally:
            self._pending = None
            for parameter, flag in flags:
                parameter.requires_grad_(flag)

    def set_adapter(self, adapter_name: str | list[str], inference_mode: bool = False) -> None:
        """Activate adapters."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self._build(pending)
        super().set_adapter(adapter_name, inference_mode=inference_mode)
        names = [adapter_name] if isinstance(adapter_name, str) else adapter_name
        for name, shared in self.rankwise_shared.items():
            shared.requires_grad_(name in names and not inference_mode)

    @property
    def rankwise_shared(self) -> nn.ModuleDict:
        """What the layers of each adapter share, by adapter name."""
        return self._modules.setdefault(f"{self.prefix}shared", nn.ModuleDict())  # type: ignore[return-value]

    def rankwise_layers(self) -> Iterator[RankwiseLayer]:
        """All wrapped layers, in module order."""
        yield from (module for module in self.model.modules() if isinstance(module, RankwiseLayer))

    def delete_adapter(self, adapter_name: str) -> None:
        """Take an adapter off."""
        super().delete_adapter(adapter_name)
        if adapter_name in self.rankwise_shared:
            del self.rankwise_shared[adapter_name]

    def set_requires_grad(self, adapter_names: str | list[str], requires_grad: bool = True) -> None:
        """Train or freeze adapters."""
        super().set_requires_grad(adapter_names, requires_grad)
        for name in [adapter_names] if isinstance(adapter_names, str) else adapter_names:
            if name in self.rankwise_shared:
                self.rankwise_shared[name].requires_grad_(requires_grad)

    def rankwise_adapters(self, name: str) -> dict[str, Adapter]:
        """The adapters of that name by target name."""
        found = [slot for layer in self.rankwise_layers() for slot in layer.slots.values() if name in slot]
        return {slot.target.name: slot[name] for slot in found}  # type: ignore[misc]

    @contextmanager
    def rankwise_entered(self, context: Context) -> Iterator[None]:
        """Run with a context at all layers."""
        with ExitStack() as stack:
            for layer in self.rankwise_layers():
                stack.enter_context(layer.runtime.entered(context))
            yield

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        names = kwargs.pop("adapter_names", None)
        if names is None:
            yield
            return
        context = adapter_context(self, names, args, kwargs)
        with ExitStack() as stack:
            for module in self.model.modules():
                if isinstance(module, AuxiliaryTrainingWrapper):
                    hook = partial(names_hook, list(names))
                    stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
            stack.enter_context(self.rankwise_entered(context))
            yield

    def _create_and_replace(  # noqa: PLR0913, PLR0917 - PEFT's own signature
        self,
        peft_config: RankwiseConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        assert self._pending is not None
        inside = target.out_proj if isinstance(target, nn.MultiheadAttention) else None
        if inside is not None and not isinstance(inside, RankwiseLayer):
            self._pending.fresh.append((target, "out_proj", inside))
        layer = target if isinstance(target, RankwiseLayer) else RankwiseLayer(target, current_key, self.prefix)
        if layer is not target:
            self._pending.fresh.append((parent, target_name, target))
            self._replace_module(parent, target_name, layer, target)
        self._pending.layers += [one for one in layer.inner if one not in self._pending.layers]

    def _mark_only_adapters_as_trainable(self, model: nn.Module) -> None:
        layers = list(self.rankwise_layers())
        for layer in layers:
            layer.plain = True
        try:
            super()._mark_only_adapters_as_trainable(model)
        finally:
            for layer in layers:
                layer.plain = False

    def _replace_module(self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module) -> None:
        setattr(parent, child_name, new_module)

    @skip_init_on_device
    def _build(self, pending: Pending) -> None:
        config: RankwiseConfig = self.peft_config[pending.name]  # type: ignore[assignment]
        method = config.method()
        slots = [slot for layer in pending.layers for slot in layer.slots.values()]
        targets = [slot.target for slot in slots]
        if not targets:
            return
        for target in targets:
            target.seed, target.restoring = config.seed, pending.meta
        try:
            chosen = with_ranks(method, targets, config.ranks([target.name for target in targets]))
            shared = method.shared(targets)
            built = [
                one.adapter(target) if shared is None else one.adapter(target, shared)  # type: ignore[call-arg]
                for target, one in zip(targets, chosen, strict=True)
            ]
        finally:
            for target in targets:
                target.restoring = False
        for adapter in built:
            adapter.to(device=adapter.target.device, dtype=adapter.target.compute_dtype)
        if shared is not None:
            self.rankwise_shared[pending.name] = shared.to(targets[0].device, targets[0].compute_dtype)
        self._settle(config, pending, built, shared)
        by_slot = dict(zip(map(id, slots), built, strict=True))
        for layer in pending.layers:
            installed = Installed(method, config.seed, shared=shared)
            adapters = {attr: by_slot[id(slot)] for attr, slot in layer.slots.items()}
            layer.install(pending.name, adapters, installed, config.inputs(), scheduled=config.scheduled)

    def _settle(self, config: RankwiseConfig, pending: Pending, built: list[Adapter], shared: nn.Module | None) -> None:
        """Move the start off the base function if asked for; empty the tensors if saved ones will come."""
        named = [(adapter.target.name, adapter) for adapter in built] + ([("shared", shared)] if shared else [])
        for name, module in named:
            if not config.init_weights:
                scatter(module, f"{config.seed}/{pending.name}/{name}")
            if pending.meta:
                empty(module)

    def _undo(self, pending: Pending) -> None:
        for layer in pending.layers:
            layer.remove(pending.name)
            if pending.name in layer.adapters:
                del layer.adapters[pending.name]
        for parent, attr, module in pending.fresh:
            setattr(parent, attr, module)
        if pending.name in self.rankwise_shared:
            del self.rankwise_shared[pending.name]

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        """Adapters are float32 (float64 on a float64 base); without autocast they take the dtype of their weight."""
        if autocast_adapter_dtype:
            return
        for adapter in self.rankwise_adapters(adapter_name).values():
            stored = adapter.target.stored()
            adapter.to(stored.dtype if stored.is_floating_point() and not adapter.target.quantized else None)
        if adapter_name in self.rankwise_shared:
            self.rankwise_shared[adapter_name].to(
                next(iter(self.rankwise_adapters(adapter_name).values())).target.stored().dtype
            )

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        for store in (f"{cls.prefix}adapter.", f"{cls.prefix}shared."):
            head, found, tail = key.partition(store + adapter_name + ".")
            if found:
                return head + store + tail
        return super()._remove_adapter_name_from_key(key, adapter_name)


def tuner_class(method: type[Method], name: str) -> type[RankwiseModel]:
    """The tuner class of a method under a PEFT name."""
    shares = method.shared is not Method.shared
    body = {"method_class": method, "prefix": f"{name}_", "uses_shared_state": shares, "__module__": __name__}
    made = type(f"{method.__name__}PeftModel", (RankwiseModel,), body)
    globals()[made.__name__] = made  # found by pickle
    return made

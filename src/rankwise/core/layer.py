# SPDX-License-Identifier: Apache-2.0
"""How adapters get onto a module: its class is swapped for a cached subclass of itself.

The subclass calls the parent's forward and then the slot (for a layer that is called), or answers reads of a weight
with the adapted one (for a weight that is read as an attribute). So `isinstance` holds, parameters keep their names, a
quantized layer keeps its own kernel, deepcopy, pickle and torch.compile work, and taking the adapters off leaves the
very same object as before.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from rankwise.core.context import Context
from rankwise.core.sharded import is_sharded
from rankwise.core.slot import Runtime, Slot
from rankwise.core.targets.base import Target
from rankwise.core.targets.parameter import ParameterTarget
from rankwise.errors import StateError, TargetError

SLOTS = "rankwise"  # the child that holds a module's slots, by weight
_READ = "_rankwise_read"  # slots behind attribute reads, including those of a tied weight held elsewhere
_GUESTS = "_rankwise_guests"  # names of the adapted weights that this module's forward reads
_CACHE = "_rankwise_cache"  # weights already computed in the forward that is running


class AdaptedLayer(nn.Module):
    """Mixed in front of the class of a layer that is called."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's output with its adapters."""
        base = super().forward(*args, **kwargs)
        x = args[0] if args else next(iter(kwargs.values()))
        return self._modules[SLOTS]["weight"].output(x, base)  # type: ignore[index]

    def __reduce_ex__(self, protocol: Any) -> tuple:
        return _rebuild, _origin(type(self)), self.__getstate__()


class AdaptedHost(nn.Module):
    """Mixed in front of the class of a module whose weights are read as attributes."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's output with its adapters; one run for each distinct example of a per-example context."""
        runtime: Runtime = self.__dict__["_rankwise_runtime"]
        context = runtime.current_context()
        if context is None or context.examples is None:
            return self._read_once(args, kwargs)
        output = None
        for one, examples in context.distinct():
            with runtime.entered(one):
                part = self._read_once(args, kwargs)
            output = part if output is None else _replaced(self, output, part, examples, context)
        return output

    def flatten_parameters(self) -> None:
        """Do nothing: an adapted recurrent layer has no fixed buffer of weights to pack."""

    def _read_once(self, args: tuple, kwargs: dict) -> Any:
        outer = self.__dict__.get(_CACHE)
        self.__dict__[_CACHE] = {}
        try:
            return super().forward(*args, **kwargs)
        finally:
            self.__dict__[_CACHE] = outer

    def __reduce_ex__(self, protocol: Any) -> tuple:
        return _rebuild, _origin(type(self)), self.__getstate__()


def require_unpatched(target: Target) -> None:
    """Refuse a module whose forward was replaced on the instance, so that a subclass of it would never be called.

    Raises:
        TargetError: if that is the case.
    """
    users = {target.module}
    if isinstance(target, ParameterTarget):
        users |= {target.host, *(module for module, _ in target.ties)}
    if any("forward" in module.__dict__ for module in users):
        raise TargetError(
            f"{target.name!r} has a forward of its own on the instance (accelerate's dispatch hooks do this), which "
            "would bypass the adapter; adapt the model first and dispatch or hook it afterwards."
        )


def install(target: Target, runtime: Runtime) -> Slot:
    """Make the target's module carry a slot for its weight, if it does not yet; return the slot."""
    module = target.module
    existing = slot_of(module, target.attr)
    if existing is not None:
        return existing
    slot = Slot(target, runtime).train(module.training)
    if isinstance(target, ParameterTarget):
        _install_read(target, slot)
    else:
        _swap(module, called=True)
        module._modules[SLOTS] = nn.ModuleDict({"weight": slot})
    return slot


def uninstall(slot: Slot) -> None:
    """Take an empty slot off its module; the module is as it was before the first adapter."""
    target = slot.target
    if not isinstance(target, ParameterTarget):
        del target.module._modules[SLOTS]
        target.module.__class__ = _origin(type(target.module))[0]
        return
    for module, attr in ((target.module, target.attr), *target.ties):
        module.__dict__[_READ].pop(attr)
        children = _slots_of(module)
        if attr in children:
            del children[attr]
        _restore_if_unused(module)
    target.host.__dict__.get(_GUESTS, set()).discard(target.name)
    _restore_if_unused(target.host)


def slot_of(module: nn.Module, attr: str) -> Slot | None:
    """The slot on a module's weight, None if there is none."""
    if attr in module.__dict__.get(_READ, {}):
        return module.__dict__[_READ][attr]
    return cast("Slot | None", _slots_of(module)._modules.get(attr))


def slots(model: nn.Module) -> Iterable[Slot]:
    """All slots of a model, each once, in module order."""
    for module in model.modules():
        if isinstance(module, Slot):
            yield module


def _install_read(target: ParameterTarget, slot: Slot) -> None:
    for index, (module, attr) in enumerate(((target.module, target.attr), *target.ties)):
        reads = module.__dict__.setdefault(_READ, {})
        reads[attr] = slot
        if index == 0:
            _add_in_order(module, attr, slot)
        _become_host(module, slot.runtime)
    _become_host(target.host, slot.runtime)
    target.host.__dict__.setdefault(_GUESTS, set()).add(target.name)


def _add_in_order(module: nn.Module, attr: str, slot: Slot) -> None:
    """Add a slot to a module's others in the order of the weights, on which optimizers count when a run resumes."""
    children = module._modules.setdefault(SLOTS, nn.ModuleDict())
    found = {**children._modules, attr: slot}  # type: ignore[union-attr]
    order = {name: place for place, name in enumerate(module._parameters)}
    children._modules = dict(sorted(found.items(), key=lambda item: order.get(item[0], len(order))))  # type: ignore


def _become_host(module: nn.Module, runtime: Runtime) -> None:
    module.__dict__["_rankwise_runtime"] = runtime
    module.__dict__.setdefault(_CACHE, None)
    _swap(module, called=False)


def _slots_of(module: nn.Module) -> nn.ModuleDict:
    """The child of a module that holds its slots; an empty one of no module if there is none."""
    children = module._modules.get(SLOTS)
    return children if isinstance(children, nn.ModuleDict) else nn.ModuleDict()


def _restore_if_unused(module: nn.Module) -> None:
    children = module._modules.get(SLOTS)
    if isinstance(children, nn.ModuleDict) and not len(children):
        del module._modules[SLOTS]
    if module.__dict__.get(_READ) or module.__dict__.get(_GUESTS) or not isinstance(module, AdaptedHost):
        return
    for key in (_READ, _CACHE, _GUESTS, "_rankwise_runtime"):
        module.__dict__.pop(key, None)
    cast(nn.Module, module).__class__ = _origin(type(module))[0]


def _swap(module: nn.Module, *, called: bool) -> None:
    kind = type(module)
    base, _, reads = _origin(kind) if issubclass(kind, AdaptedLayer | AdaptedHost) else (kind, called, ())
    wanted = tuple(sorted(set(reads) | set(module.__dict__.get(_READ, {}))))
    module.__class__ = _adapted_class(base, called, wanted)


@cache
def _adapted_class(base: type[nn.Module], called: bool, reads: tuple[str, ...]) -> type[nn.Module]:
    """The subclass of `base` for a called layer, or for a module whose attributes `reads` are adapted."""
    body: dict[str, Any] = {"__module__": base.__module__, "_rankwise_origin": (base, called, reads)}
    inside = issubclass(base, nn.RNNBase)  # copying or moving a recurrent layer reads its weights, to keep them
    body |= {attr: _weight_property(attr, inside) for attr in reads}
    biases = {bias for attr in reads if (bias := _bias_name(base, attr))}
    body |= {bias: _bias_property(bias, inside) for bias in biases}
    if inside and not called:
        body["_flat_weights"] = property(_flat_weights, _set_flat_weights)
    mixin = AdaptedLayer if called else AdaptedHost
    return cast("type[nn.Module]", type(f"Adapted{base.__name__}", (mixin, base), body))


def _origin(kind: type) -> tuple[type[nn.Module], bool, tuple[str, ...]]:
    return kind._rankwise_origin  # type: ignore[attr-defined]


def _rebuild(base: type[nn.Module], called: bool, reads: tuple[str, ...]) -> nn.Module:
    kind = _adapted_class(base, called, reads)
    return kind.__new__(kind)


def _weight_property(attr: str, inside: bool) -> property:
    """The adapted weight; with `inside`, the stored one wherever the module's own forward does not run."""

    def read(self: nn.Module) -> Tensor | None:
        stored = self._parameters[attr]
        slot = self.__dict__[_READ].get(attr)
        if slot is None or stored is None or _only_kept(self, stored, inside):
            return stored
        return _cached(self, attr, lambda: slot.weight(stored))

    return property(read)


def _bias_property(attr: str, inside: bool) -> property:
    """The bias with the bias deltas; see `_weight_property`."""

    def read(self: nn.Module) -> Tensor | None:
        stored = self._parameters[attr]
        here = [slot for slot in self.__dict__[_READ].values() if slot.target.bias_attr == attr]
        if stored is None or not here or _only_kept(self, stored, inside):
            return stored
        return _cached(self, attr, lambda: _moved_bias(stored, here))

    return property(read)


def _only_kept(module: nn.Module, stored: Tensor, inside: bool) -> bool:
    """Whether a weight is read to be kept, not to compute: by FSDP2 while it is sharded, or outside a forward."""
    if inside and module.__dict__.get(_CACHE) is None:
        return True
    return not torch.compiler.is_compiling() and is_sharded(stored)


def _moved_bias(stored: Tensor, here: list[Slot]) -> Tensor:
    for slot in here:
        stored = slot.bias(stored)
    return stored


def _cached(module: nn.Module, attr: str, compute: Any) -> Tensor:
    cache = module.__dict__.get(_CACHE)
    if cache is None:
        return compute()
    if attr not in cache:
        cache[attr] = compute()
    return cache[attr]


def _bias_name(base: type[nn.Module], attr: str) -> str | None:
    if issubclass(base, nn.MultiheadAttention):
        return "in_proj_bias"
    if issubclass(base, nn.RNNBase):
        return attr.replace("weight", "bias") if attr.startswith(("weight_ih", "weight_hh")) else None
    return "bias" if attr == "weight" else None


def _flat_weights(self: nn.RNNBase) -> list[Tensor | None]:
    if self.__dict__.get(_CACHE) is None:
        return self.__dict__["_flat_weights"]
    return [getattr(self, name) if hasattr(self, name) else None for name in self._flat_weights_names]


def _set_flat_weights(self: nn.RNNBase, stored: list[Tensor | None]) -> None:
    self.__dict__["_flat_weights"] = stored


def _replaced(module: nn.Module, output: Any, part: Any, examples: list[int], context: Context) -> Any:
    """`output` with the rows of `examples` taken from `part`."""
    dim = context.batch_dim
    if isinstance(module, nn.RNNBase | nn.MultiheadAttention):
        dim = 0 if module.batch_first else 1
    chosen = examples, context.examples or 1
    if isinstance(module, nn.RNNBase):
        hidden = tree_map(lambda old, new: _with_rows(old, new, 1, *chosen), output[1], part[1])
        return _with_rows(output[0], part[0], dim, *chosen), hidden
    if isinstance(module, nn.MultiheadAttention):
        weights = None if output[1] is None else _with_rows(output[1], part[1], 0, *chosen)
        return _with_rows(output[0], part[0], dim, *chosen), weights
    return tree_map(lambda old, new: _with_rows(old, new, dim, *chosen), output, part)


def _with_rows(old: Any, new: Any, dim: int, examples: list[int], count: int) -> Any:
    """`old` with the rows of `examples`, out of `count` along `dim`, taken from `new`; other than tensors stay."""
    if not isinstance(old, Tensor):
        return old
    repeat, left = divmod(old.shape[dim], count)
    if left:
        raise StateError(
            f"an adapted module returned a tensor of shape {list(old.shape)}, which does not count the {count} "
            f"examples of the context along dimension {dim}."
        )
    rows = torch.tensor([e * repeat + i for e in examples for i in range(repeat)], device=old.device)
    return old.index_copy(dim, rows, new.index_select(dim, rows))

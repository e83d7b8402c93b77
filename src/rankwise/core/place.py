# SPDX-License-Identifier: Apache-2.0
"""Build the adapters of all targets first, then put them on the model.

Whatever is wrong with the targets, the method or a checkpoint shows while the parts are assembled, before the model is
touched.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from rankwise.core.adapter import Adapter
from rankwise.core.calibration import Calibrated, Calibration, of_first_process
from rankwise.core.layer import SLOTS, install, require_unpatched, slots
from rankwise.core.method import Method
from rankwise.core.quantized import forbid_rearranging
from rankwise.core.select import clean, suffix_of
from rankwise.core.sharded import is_sharded
from rankwise.core.slot import Installed, Runtime
from rankwise.core.targets import Target
from rankwise.errors import MethodError, StateError, TargetError, listed, nearest

_NAME = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Parts:
    """An adaptation that is complete but not on a model yet.

    Attributes:
        installed: the method, what its adapters share, and its schedule.
        adapters: the adapters by target name.
    """

    installed: Installed
    adapters: dict[str, Adapter]


def assemble(
    method: Method,
    found: list[Target],
    *,
    ranks: dict[str, int],
    dtype: torch.dtype | None,
    seed: int,
    calibration: Calibration | None = None,
) -> Parts:
    """Build the adapters of all targets and what they share.

    With calibration the method first chooses every target's rank, and start values, from data.

    Raises:
        MethodError: if a field does not fit a target.
        TargetError: if an entry of `ranks` matches no target, or a layer cannot carry an adapter.
    """
    for target in found:
        target.seed = seed
        require_unpatched(target)
    chosen, start = with_ranks(method, found, ranks), Calibrated({}, {})
    if calibration is not None:
        start = of_first_process(method.calibrate(found, chosen, calibration))
        found, ranks = [target for target in found if start.ranks[target.name]], start.ranks
        chosen = [method.at_rank(ranks[target.name]) for target in found]
    shared = method.shared(found)
    adapters = {
        target.name: one.adapter(target) if shared is None else one.adapter(target, shared)  # type: ignore[call-arg]
        for target, one in zip(found, chosen, strict=True)
    }
    for adapter in adapters.values():
        adapter.to(device=adapter.target.device, dtype=dtype or adapter.target.compute_dtype)
    for name, tensors in start.tensors.items():
        for key, value in tensors.items():
            adapters[name].get_parameter(key).data.copy_(value)
    if shared is not None:
        shared.to(device=found[0].device, dtype=dtype or found[0].compute_dtype)
    return Parts(Installed(method, seed, ranks=ranks, shared=shared), adapters)


def place(model: nn.Module, name: str, parts: Parts) -> Runtime:
    """Put assembled parts on a model under a name, and freeze the base.

    Raises:
        StateError: if the name is not allowed or taken.
    """
    _require_name(model, name)
    runtime = runtime_of(model) or Runtime()
    if not runtime.installed:
        runtime.trainable = {clean(key): p.requires_grad for key, p in model.named_parameters()}
        runtime.rearranging = [clean(key) for key in forbid_rearranging(model)]
        model.requires_grad_(False)
    runtime.installed[name] = parts.installed
    for adapter in parts.adapters.values():
        object.__setattr__(adapter, "runtime", runtime)
        adapter.train(adapter.target.module.training)
        install(adapter.target, runtime)[name] = adapter
    if parts.installed.shared is not None:
        _host(model, next(iter(parts.adapters.values())).target.module, name, parts.installed.shared)
    return runtime


def with_ranks(method: Method, found: list[Target], ranks: Mapping[str, int]) -> list[Method]:
    """The method of each target, with its own rank where `ranks` names it.

    Raises:
        MethodError: if the method has no rank.
        TargetError: if an entry of `ranks` matches no target.
    """
    if not ranks:
        return [method] * len(found)
    names = [target.name for target in found]
    for suffix in ranks:
        if not any(suffix_of(suffix, name) for name in names):
            raise TargetError(f"the entry {suffix!r} of ranks matches none of the targets. {nearest(suffix, names)}")
    if "rank" not in method.to_dict():
        raise MethodError(
            f"{type(method).__name__} has no field 'rank', so ranks={dict(ranks)} means nothing; drop it."
        )
    return [
        method.at_rank(ranks[max(hits, key=len)]) if hits else method
        for hits in ([suffix for suffix in ranks if suffix_of(suffix, name)] for name in names)
    ]


def unwrapped(model: nn.Module) -> nn.Module:
    """The module itself behind torch.compile's wrapper.

    Raises:
        StateError: if the model is wrapped in data parallelism or sharded, where adapters would be left out.
    """
    if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
        raise StateError(
            f"the model is already wrapped in {type(model).__name__}, which would not synchronize adapters added now; "
            "call adapt() first and wrap afterwards."
        )
    if any(is_sharded(p) for p in model.parameters()):
        raise StateError(
            "the model's parameters are already sharded (DTensor), so each process would train adapters of its own; "
            "call adapt() first and shard afterwards."
        )
    return model._modules.get("_orig_mod") or model  # torch.compile keeps the module itself under this name


def runtime_of(model: nn.Module) -> Runtime | None:
    """What the slots of an adapted model share, None for a model without adapters."""
    return next((slot.runtime for slot in slots(model)), None)


def _require_name(model: nn.Module, name: str) -> None:
    if not _NAME.fullmatch(name) or hasattr(nn.ModuleDict, name):
        raise StateError(f"adapter name {name!r} is not allowed; use letters, digits, '_' and '-' (no method names).")
    runtime = runtime_of(model)
    if runtime is not None and name in runtime.installed:
        raise StateError(
            f"the model already has an adapter {name!r} (all: {listed(runtime.installed)}); pass another name=, or "
            "remove() the old one first."
        )


def _host(model: nn.Module, first: nn.Module, name: str, shared: nn.Module) -> None:
    """Register shared state once: at the root, or at the first adapted module if the root runs its children in turn."""
    root = first if isinstance(model, nn.Sequential | nn.ModuleList | nn.ModuleDict) else model
    if SLOTS not in root._modules:
        root._modules[SLOTS] = nn.ModuleDict()
    root._modules[SLOTS][f"shared-{name}"] = shared  # type: ignore[index]

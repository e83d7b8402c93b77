# SPDX-License-Identifier: Apache-2.0
"""Which modules and parameters of a model PEFT's settings name.

A list entry matches a whole name or its end, a string is one regular expression for whole names, `exclude_modules`
likewise, and `layers_to_transform` keeps list matches in layers of these numbers. A pattern key is a regular
expression for a name or its end; the first that matches counts.
"""

import re
from collections.abc import Iterator, Mapping
from typing import TypeVar

from torch import nn

from rankwise.core.layer import SLOTS
from rankwise.core.select import clean, named_targets, suffix_of
from rankwise.core.targets import ParameterTarget
from rankwise.errors import TargetError
from rankwise.integrations.peft.holders import Holder, attention_holders, layer_holder, parameter_holder
from rankwise.integrations.peft.settings import Settings

T = TypeVar("T")


def matched(model: nn.Module, settings: Settings) -> Iterator[Holder]:
    """The holders of every weight that the settings name, in model order.

    Raises:
        TargetError: if a named layer has no weight that can be adapted, or PEFT adapts it in a way that no delta has.
    """
    unread = {id(m.out_proj): path for path, m in named_modules(model) if isinstance(m, nn.MultiheadAttention)}
    for path, module in named_modules(model):
        if path and _chosen(path, settings):
            if id(module) in unread:
                raise TargetError(
                    f"{path!r} is named in target_modules, but PEFT's adapter there is never called: attention "
                    "reads its "
                    f"weight. Name {unread[id(module)]!r} and train again, or use rankwise.adapt, which reaches it."
                )
            if isinstance(module, nn.MultiheadAttention):
                if settings.lora_bias or settings.use_dora:
                    raise TargetError(f"PEFT has neither lora_bias nor use_dora for the attention {path!r}.")
                yield from attention_holders(path, f"{path}.in_proj_weight", f"{path}.out_proj")
            else:
                yield _layer(model, path)
        adapted = [name for name in module._parameters if _named(f"{path}.{name}", settings.target_parameters)]
        for name in adapted:
            yield parameter_holder(path, module, name, adapted)


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules of a model by name, without what rankwise put into it."""
    for path, module in model.named_modules():
        if SLOTS not in path.split("."):
            yield clean(path), module


def pattern(patterns: Mapping[str, T], name: str, default: T) -> T:
    """The value of the first pattern that matches a name or its end."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", name)), default)


def _layer(model: nn.Module, path: str) -> Holder:
    target = named_targets(model, [path])[0]
    if isinstance(target, ParameterTarget) and target.ties:
        raise TargetError(
            f"{path!r} shares its weight with another layer, and PEFT's adapter changes one of the two alone, "
            "which is no "
            "change of the weight; untie the weights first."
        )
    return layer_holder(path, target)


def _chosen(path: str, settings: Settings) -> bool:
    if settings.exclude_modules and _named(path, settings.exclude_modules):
        return False
    if isinstance(settings.target_modules, str) or path in settings.target_modules:
        return _named(path, settings.target_modules)
    return _named(path, settings.target_modules) and _in_layers(path, settings)


def _named(name: str, wanted: list[str] | str) -> bool:
    if isinstance(wanted, str):
        return re.fullmatch(wanted, name) is not None
    return any(suffix_of(suffix, name) for suffix in wanted)


def _in_layers(path: str, settings: Settings) -> bool:
    if not settings.layers_to_transform:
        return True
    patterns = [rf"(?:^|.*?\.){one}" for one in settings.layers_pattern] or [r".*?\.[^.]*"]
    found = next((hit for one in patterns if (hit := re.match(rf"{one}\.(\d+)\.", path))), None)
    return found is not None and int(found[1]) in settings.layers_to_transform

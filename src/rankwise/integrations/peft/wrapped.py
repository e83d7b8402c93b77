# SPDX-License-Identifier: Apache-2.0
"""What a layer of PEFT's asks of the module it wraps."""

from torch import nn

from rankwise.core.select import all_candidates
from rankwise.core.slot import Slot
from rankwise.core.targets import Target


def own_targets(module: nn.Module, name: str) -> dict[str, Target]:
    """The weights that a module holds itself, by attribute.

    Args:
        module: the module.
        name: its path in the base model.
    """
    found = {one.attr: one.build() for one in all_candidates(module).values() if one.module is module}
    for attr, target in found.items():
        target.name = name if target.called else f"{name}.{attr}"
    return found


def moves_bias(slot: Slot) -> bool:
    """Whether an adapter of the slot changes the bias."""
    return any(slot.adapter(name).bias_delta() is not None for name in slot)

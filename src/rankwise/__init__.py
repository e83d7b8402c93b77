# SPDX-License-Identifier: Apache-2.0
"""Adapt, merge, convert and inspect neural networks through the rank and the spectrum of their weights.

The names below are imported when they are first used, so that the exact mathematics next door (`rankwise.symmetry`)
does not pay for the learning side.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rankwise.errors import CheckpointError, MethodError, RankwiseError, StateError, TargetError

if TYPE_CHECKING:
    from rankwise.adapters import (
        EVA,
        MHR,
        NOLA,
        PEGO,
        SALT,
        SNELL,
        SNELLA,
        Bat,
        Bone,
        ConvDoRA,
        ConvLoRA,
        CPDoRA,
        CPLoRA,
        DiffoRA,
        DoRA,
        DoRAC,
        FLoRA,
        Hydra,
        IncreLoRA,
        LoLDU,
        LoRA,
        LoRAC,
        MoS,
        PETALface,
        Poly,
        RandLoRA,
        SVFit,
        TLoRA,
        TriAdaptLoRA,
    )
    from rankwise.core.adapt import adapt, adaptations
    from rankwise.core.adaptation import Adaptation
    from rankwise.core.adapter import Adapter, Factored
    from rankwise.core.load import load
    from rankwise.core.method import Method, methods, register
    from rankwise.core.targets import Target
    from rankwise.errors import CheckpointError, MethodError, RankwiseError, StateError, TargetError

_HOMES = (
    "rankwise.adapters",  # first: it registers every method
    "rankwise.core.adapt",
    "rankwise.core.adaptation",
    "rankwise.core.adapter",
    "rankwise.core.load",
    "rankwise.core.method",
    "rankwise.core.targets",
)

__all__ = [
    "EVA",
    "MHR",
    "NOLA",
    "PEGO",
    "SALT",
    "SNELL",
    "SNELLA",
    "Adaptation",
    "Adapter",
    "Bat",
    "Bone",
    "CPDoRA",
    "CPLoRA",
    "CheckpointError",
    "ConvDoRA",
    "ConvLoRA",
    "DiffoRA",
    "DoRA",
    "DoRAC",
    "FLoRA",
    "Factored",
    "Hydra",
    "IncreLoRA",
    "LoLDU",
    "LoRA",
    "LoRAC",
    "Method",
    "MethodError",
    "MoS",
    "PETALface",
    "Poly",
    "RandLoRA",
    "RankwiseError",
    "SVFit",
    "StateError",
    "TLoRA",
    "Target",
    "TargetError",
    "TriAdaptLoRA",
    "adapt",
    "adaptations",
    "load",
    "methods",
    "register",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'rankwise' has no attribute {name!r}")
    home = next(module for module in map(import_module, _HOMES) if hasattr(module, name))
    globals()[name] = getattr(home, name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))

# SPDX-License-Identifier: Apache-2.0
"""Adapt, merge, convert and inspect neural networks through the rank and the spectrum of their weights."""

from rankwise.adapters import (
    MHR,
    NOLA,
    PEGO,
    SALT,
    Bat,
    Bone,
    ConvDoRA,
    ConvLoRA,
    CPDoRA,
    CPLoRA,
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
)
from rankwise.core.adapt import adapt, adaptations
from rankwise.core.adaptation import Adaptation
from rankwise.core.adapter import Adapter, Factored
from rankwise.core.errors import CheckpointError, MethodError, RankwiseError, StateError, TargetError
from rankwise.core.load import load
from rankwise.core.method import Method, methods, register
from rankwise.core.targets import Target

__all__ = [
    "MHR",
    "NOLA",
    "PEGO",
    "SALT",
    "Adaptation",
    "Adapter",
    "Bat",
    "Bone",
    "CPDoRA",
    "CPLoRA",
    "CheckpointError",
    "ConvDoRA",
    "ConvLoRA",
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
    "adapt",
    "adaptations",
    "load",
    "methods",
    "register",
]

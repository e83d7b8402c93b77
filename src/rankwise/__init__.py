# SPDX-License-Identifier: Apache-2.0
"""Adapt, merge, convert and inspect neural networks through the rank and the spectrum of their weights."""

from rankwise.adapters import CPLoRA, DoRA, Hydra, IncreLoRA, LoLDU, LoRA, MoS, PETALface, SVFit
from rankwise.core.adapt import adapt, adaptations
from rankwise.core.adaptation import Adaptation
from rankwise.core.adapter import Adapter, Factored
from rankwise.core.errors import CheckpointError, MethodError, RankwiseError, StateError, TargetError
from rankwise.core.load import load
from rankwise.core.method import Method, methods, register
from rankwise.core.targets import Target

__all__ = [
    "Adaptation",
    "Adapter",
    "CPLoRA",
    "CheckpointError",
    "DoRA",
    "Factored",
    "Hydra",
    "IncreLoRA",
    "LoLDU",
    "LoRA",
    "Method",
    "MethodError",
    "MoS",
    "PETALface",
    "RankwiseError",
    "SVFit",
    "StateError",
    "Target",
    "TargetError",
    "adapt",
    "adaptations",
    "load",
    "methods",
    "register",
]

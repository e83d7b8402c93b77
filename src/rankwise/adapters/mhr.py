# SPDX-License-Identifier: Apache-2.0
"""Multi-head routing: mix an inventory of skills separately in each block of features, and reuse it for new tasks.

    W_t = W0 + (alpha / r) B_t A_t,   block h of A_t and B_t mixed with the weights w[t,h,:], h = 1 ... H

The columns of A_t and the rows of B_t are cut into H blocks of consecutive features; input block h and output block h
share one row of weights. For H S numbers a task and weight this gives combinations that grow like S^H, and the skills
cost what they cost in `Poly`, which is H = 1. For a new task `router_only` (MHR-z) trains fresh routing numbers on
frozen skills; `average` (MHR-mu) drops the routing and leaves an ordinary LoRA that holds the mean skill.

Caccia et al. 2023, arXiv 2211.03831. Tuning everything on a new task is `router_only(adaptation, freeze=False)`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from rankwise.adapters.lora import LoRA, LoRAAdapter
from rankwise.adapters.poly import Poly, PolyAdapter
from rankwise.core.adaptation import Adaptation
from rankwise.core.method import Method, register
from rankwise.core.place import Parts, assemble, place
from rankwise.core.targets import Target
from rankwise.errors import MethodError, StateError


@register
@dataclass(frozen=True)
class MHR(Poly):
    """Poly with the routing of H blocks of features, W = W0 + (alpha / r) B_t A_t.

    Attributes:
        heads: H, how many blocks each input and output is cut into; must divide both sides of every weight.

    Raises:
        MethodError: if a field is out of range; see `Poly`.
    """

    tiny: ClassVar[Mapping[str, Any]] = MappingProxyType({"skills": 2, "tasks": 3, "heads": 1})

    heads: int = 8

    def validate(self) -> None:
        """Check ranges."""
        super().validate()
        self.at_least("heads", 1)

    def adapter(self, target: Target) -> PolyAdapter:
        """Build the skills and the router of one weight."""
        return PolyAdapter(target, self, self.heads)


def router_only(adaptation: Adaptation, *, tasks: int = 1, freeze: bool = True, seed: int = 0) -> Adaptation:
    """Start new tasks from trained skills: a fresh router for them, on skills that stay as they are (MHR-z).

    The old routers are dropped. The adapter keeps its name and scale; the handle passed in is of no use afterwards, and
    an optimizer must be built anew.

    Args:
        adaptation: a trained `Poly` or `MHR`.
        tasks: how many new tasks there are.
        freeze: whether only the H S routing numbers of each weight and task train; False trains the skills too.
        seed: the source of the fresh routing numbers, together with each target's name.

    Returns:
        The new handle; with one task it needs no context.

    Raises:
        MethodError: if the adaptation is neither Poly nor MHR, or tasks < 1.
        StateError: if it is merged.
    """
    method, adapters = _routed(adaptation, "router_only")
    fresh = replace(method, tasks=tasks, frozen_skills=freeze)
    parts = _assembled(adaptation, fresh, _own_ranks(method, adapters), seed)
    for name, one in parts.adapters.items():
        assert isinstance(one, PolyAdapter)
        _copy(adapters[name].lora_a, one.lora_a)
        _copy(adapters[name].lora_b, one.lora_b)
    return _replaced(adaptation, parts)


def average(adaptation: Adaptation) -> Adaptation:
    """Drop the routing: one LoRA whose block h is the mean over the skills of block h (MHR-mu).

    Its function is that of the uniform router w = 1 / S. The adapter keeps its name and scale; the handle passed in is
    of no use afterwards, and an optimizer must be built anew.

    Args:
        adaptation: a trained `Poly` or `MHR`.

    Returns:
        The new handle, a `LoRA` of the same rank and alpha.

    Raises:
        MethodError: if the adaptation is neither Poly nor MHR.
        StateError: if it is merged.
    """
    method, adapters = _routed(adaptation, "average")
    parts = _assembled(adaptation, LoRA(rank=method.rank, alpha=method.alpha), _own_ranks(method, adapters))
    for name, one in parts.adapters.items():
        assert isinstance(one, LoRAAdapter)
        old = adapters[name]
        left, right = old.mixture(old.lora_a.new_full((1, old.heads, method.skills), 1 / method.skills))
        _copy(left, one.left)
        _copy(right, one.right)
    return _replaced(adaptation, parts)


def _routed(adaptation: Adaptation, what: str) -> tuple[Poly, dict[str, PolyAdapter]]:
    """The method and the adapters of an adaptation that routes."""
    method = adaptation.method
    if not isinstance(method, Poly):
        raise MethodError(f"{what} needs an adaptation with Poly or MHR, got {type(method).__name__}.")
    if adaptation.merged:
        raise StateError(f"cannot {what} adapter {adaptation.name!r} while it is merged; unmerge() first.")
    return method, {name: one for name, one in adaptation.adapters.items() if isinstance(one, PolyAdapter)}


def _own_ranks(method: Poly, adapters: dict[str, PolyAdapter]) -> dict[str, int]:
    """The ranks of the weights that have another one than the method's."""
    return {name: one.method.rank for name, one in adapters.items() if one.method.rank != method.rank}


def _assembled(adaptation: Adaptation, method: Method, ranks: dict[str, int], seed: int = 0) -> Parts:
    """Adapters of another method for the same weights, in the dtype that they have now."""
    targets = list(adaptation.targets.values())
    dtype = next(adaptation.parameters()).dtype
    for target in targets:
        target.restoring = True
    try:
        return assemble(method, targets, ranks=ranks, dtype=dtype, seed=seed)
    finally:
        for target in targets:
            target.restoring = False


def _replaced(adaptation: Adaptation, parts: Parts) -> Adaptation:
    """Put the parts in the adaptation's place."""
    model, name = adaptation.model, adaptation.name
    parts.installed.scale, parts.installed.active = adaptation.scale, adaptation.active
    adaptation.remove()
    return Adaptation(model, name, place(model, name, parts))


def _copy(source: Tensor, into: Tensor) -> None:
    with torch.no_grad():
        into.copy_(source)

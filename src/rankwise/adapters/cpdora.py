# SPDX-License-Identifier: Apache-2.0
"""Train the length of each weight row, and its direction by a sum of outer products.

    W = m V / ||V||,   V = W0 + s sum_q a_q o b_q o c_q o d_q,   m [out] trainable, ||W0|| at the start

with s = alpha / rank, the vectors of `rankwise.adapters.cplora`, one for each side of a kernel, and the norm over all
entries of a filter; the magnitude and the norm are those of `rankwise.adapters.decomposed`. On a linear layer or a 1x1
kernel it is DoRA.

CP-DoRA: arXiv 2508.01772 (2025); DoRA: arXiv 2402.09353. Dropout acts on the update's input alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from rankwise.adapters.cplora import CPLoRA, CPLoRAAdapter
from rankwise.adapters.decomposed import WithMagnitude
from rankwise.core.method import register
from rankwise.core.targets import Target


@register
@dataclass(frozen=True)
class CPDoRA(CPLoRA):
    """Weight-decomposed CPLoRA, W = m V / ||V|| with V = W0 + (alpha / rank) sum_q a_q o b_q o c_q o d_q.

    Attributes:
        rank: number of outer products.
        alpha: scale of the update; it is multiplied by alpha / rank.
        dropout: probability of zeroing entries of the update's input in training.
        detach_norm: whether ||V|| counts as a constant in the backward pass; False gives the exact gradient.

    Raises:
        MethodError: if rank < 1, alpha <= 0 or dropout is outside [0, 1), or the rank is above what a weight's shape
            can need.
    """

    tiny: ClassVar[Mapping[str, Any]] = MappingProxyType({"detach_norm": False})

    detach_norm: bool = True

    def adapter(self, target: Target) -> WithMagnitude:
        """Build the magnitude and one matrix of vectors for each side of the weight."""
        return WithMagnitude(target, CPLoRAAdapter(target, self), self.detach_norm)

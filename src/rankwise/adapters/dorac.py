# SPDX-License-Identifier: Apache-2.0
"""Train the length of each filter of a square kernel, and its direction by a product viewed as a kernel.

    W = m V / ||V||,   V = W0 + s view(B A),   m [out] trainable, ||W0|| at the start,   s = alpha / r

with A and B as in `rankwise.adapters.lorac` and the norm over all entries of a filter; the magnitude is that of
`rankwise.adapters.decomposed`. The norm comes from the dense kernel, which the update runs as anyway.

DoRA-C: arXiv 2508.01772 (2025); DoRA: arXiv 2402.09353. Dropout acts on the update's input alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from rankwise.adapters.decomposed import WithMagnitude
from rankwise.adapters.lorac import LoRAC, LoRACAdapter
from rankwise.core.method import register
from rankwise.core.targets import Target


@register
@dataclass(frozen=True)
class DoRAC(LoRAC):
    """Weight-decomposed LoRAC, W = m V / ||V|| with V = W0 + (alpha / rank) view(B A).

    Attributes:
        rank: r; the inner dimension of the product is rank * k.
        alpha: scale of the update; it is multiplied by alpha / rank.
        dropout: probability of zeroing entries of the update's input in training.
        detach_norm: whether ||V|| counts as a constant in the backward pass; False gives the exact gradient.

    Raises:
        MethodError: if rank < 1, alpha <= 0 or dropout is outside [0, 1), or the rank does not fit a layer.
        TargetError: if a target has no square kernel of two dimensions.
    """

    tiny: ClassVar[Mapping[str, Any]] = MappingProxyType({"detach_norm": False})

    detach_norm: bool = True

    def adapter(self, target: Target) -> WithMagnitude:
        """Build the magnitude and the two matrices for one convolution."""
        return WithMagnitude(target, LoRACAdapter(target, self), self.detach_norm)

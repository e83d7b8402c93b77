# SPDX-License-Identifier: Apache-2.0
"""Train the length of each filter of a convolution, and its direction by two small convolutions.

    W = m V / ||V||,   V = W0 + s B A,   m [out] trainable, ||W0|| at the start,   s = alpha / rank

with A and B as in `rankwise.adapters.convlora` and the norm over all entries of a filter; the magnitude and the norm
are those of `rankwise.adapters.decomposed`. Without groups this is DoRA of the unfolded kernel.

convDoRA: arXiv 2508.01772 (2025); DoRA: arXiv 2402.09353. Dropout acts on the small convolutions' input alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from rankwise.adapters.convlora import ConvLoRA, ConvLoRAAdapter
from rankwise.adapters.decomposed import WithMagnitude
from rankwise.core.method import register
from rankwise.core.targets import Target


@register
@dataclass(frozen=True)
class ConvDoRA(ConvLoRA):
    """Weight-decomposed ConvLoRA, W = m V / ||V|| with V = W0 + (alpha / rank) B A.

    Attributes:
        rank: channels between the two convolutions; a multiple of the layer's groups.
        alpha: scale of the update; it is multiplied by alpha / rank.
        dropout: probability of zeroing entries of the update's input in training.
        detach_norm: whether ||V|| counts as a constant in the backward pass; False gives the exact gradient.

    Raises:
        MethodError: if rank < 1, alpha <= 0 or dropout is outside [0, 1), or the rank does not fit a layer.
        TargetError: if a target is no convolution, or a depthwise one.
    """

    tiny: ClassVar[Mapping[str, Any]] = MappingProxyType({"detach_norm": False})

    detach_norm: bool = True

    def adapter(self, target: Target) -> WithMagnitude:
        """Build the magnitude and the two kernels for one convolution."""
        return WithMagnitude(target, ConvLoRAAdapter(target, self), self.detach_norm)

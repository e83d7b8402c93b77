# SPDX-License-Identifier: Apache-2.0
"""Add to a frozen square kernel a product of two matrices, read row by row as a kernel.

    W = W0 + s view(B A),   A [r k, in k], B [out / g k, r k],   s = alpha / r

for a k x k kernel in g groups. The view reorders nothing: the rows of B A, laid end to end, are the entries of the
kernel [out, in / g, k, k]. Without groups, rows o k ... o k + k - 1 of B A give output channel o, and each of them
covers kernels of in / k input channels: a row of the matrix is not a row of a kernel. Unfolded to [out, in k^2] the
update has a rank of up to r k^2, so one rank here is k^2 ordinary ones, and from r = out in / (out + in) on the two
matrices are as large as the kernel. Not being of low rank, the update runs as one kernel: a second convolution like the
layer's own, which keeps nothing for the backward pass but its input and that kernel.

LoRA-C: alexyyds2024/lora-C; the same tensors in ConvLoRA (aleemsidra/ConvLoRA) and in loralib. Does not take kernels
that are not square or not two-dimensional.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise.adapters.convlora import require_convolution
from rankwise.core.adapter import Adapter, kaiming_uniform
from rankwise.core.lowrank import without_autocast
from rankwise.core.method import LowRank, register
from rankwise.core.targets import Target
from rankwise.errors import MethodError, TargetError


@register
@dataclass(frozen=True)
class LoRAC(LowRank):
    """A product of matrices viewed as a square kernel, W = W0 + (alpha / rank) view(B A).

    Attributes:
        rank: r; the inner dimension of the product is rank * k.
        alpha: scale of the update; it is multiplied by alpha / rank. Keep alpha / rank when the rank changes.
        dropout: probability of zeroing entries of the adapter's input in training.

    Raises:
        MethodError: if rank < 1, alpha <= 0 or dropout is outside [0, 1), or the rank does not fit a layer.
        TargetError: if a target has no square kernel of two dimensions.
    """

    rank: int = 4
    alpha: float = 8.0

    def adapter(self, target: Target) -> Adapter:
        """Build the two matrices for one convolution."""
        return LoRACAdapter(target, self)


class LoRACAdapter(Adapter):
    """The two matrices of one convolution.

    Attributes:
        right: A [r k, in k].
        left: B [out / groups * k, r k], zero at the start.
    """

    def __init__(self, target: Target, method: LoRAC) -> None:
        super().__init__(target)
        _require_possible(target, method)
        out, inputs, side, _ = target.shape
        self.scaling, self.dropout = method.scaling, method.dropout
        width = inputs * target.groups * side
        self.right = nn.Parameter(kaiming_uniform((method.rank * side, width), width, target.generator()))
        self.left = nn.Parameter(torch.zeros(out // target.groups * side, method.rank * side))

    def delta(self) -> Float[Tensor, "out in k k"]:
        """The rows of s B A end to end, as a kernel."""
        with without_autocast(self.left):
            return (self.scaling * self.left @ self.right).reshape(self.target.shape)

    def forward(self, x: Tensor, base: Tensor) -> Tensor:
        """Base plus the output of the update's kernel."""
        return base + self.target.apply(F.dropout(x, self.dropout, self.training), self.delta(), base)


def _require_possible(target: Target, method: LoRAC) -> None:
    name = type(method).__name__
    require_convolution(target, name, "DoRA" if name.startswith("DoRA") else "LoRA")
    sides = target.shape[2:]
    if len(sides) != 2 or sides[0] != sides[1]:
        raise TargetError(
            f"{target.name!r} has a kernel of {' x '.join(map(str, sides))}, and {name} is defined on square kernels "
            f"of two dimensions alone; use {'ConvDoRA' if name.startswith('DoRA') else 'ConvLoRA'} there, or leave it "
            "out of targets."
        )
    out, inputs = target.shape[0] // target.groups, target.shape[1] * target.groups
    limit = min(out, inputs)
    if method.rank > limit:
        raise MethodError(
            f"rank {method.rank} is above min(out / groups, in) = {limit} of {target.name!r}, beyond which the product "
            f"gains nothing; choose a rank of at most {limit}, or set it for this target alone with "
            f"ranks={{{target.name!r}: {limit}}}."
        )

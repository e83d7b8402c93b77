# SPDX-License-Identifier: Apache-2.0
"""Kernels of convolutions in one, two and three dimensions, transposed ones included.

The canonical kernel is [out, in / groups, *kernel] and its matrix [out, in / groups * prod(kernel)]. A factored delta
runs as two convolutions: the right factor as a spatial one with the layer's own stride, padding, padding mode,
dilation and groups, the left factor as a 1x1 one. With groups, every group has the same right factor and its own rows
of the left one, so that left @ right is the delta of the kernel for any number of groups, depthwise layers included.
A right factor that is itself an outer product over the kernel's sides runs side by side: a 1x1 convolution to few
channels, then one depthwise convolution along each spatial dimension, about twice as fast as the whole kernel at once.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise.core.targets.base import Target

_POINTWISE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class ConvTarget(Target):
    """The kernel of `nn.Conv1d`, `nn.Conv2d` or `nn.Conv3d`."""

    def __init__(self, name: str, module: nn.modules.conv._ConvNd) -> None:
        shape = (module.out_channels, module.in_channels // module.groups, *module.kernel_size)
        super().__init__(name, module, "weight", shape)
        self.groups = module.groups
        self.spatial = len(module.kernel_size)
        self.channel_dim = -1 - self.spatial

    def apply(self, x: Tensor, delta: Float[Tensor, "out in *kernel"], like: Tensor) -> Tensor:
        """The layer's own convolution with `delta` as its kernel."""
        return self._spatial(x.to(like.dtype), delta.to(like.dtype), like)

    def down(self, x: Tensor, right: Float[Tensor, "k in"], like: Tensor, dropout: float = 0.0) -> Tensor:
        """The layer's own convolution with k output channels in each group."""
        kernel = right.reshape(-1, *self.shape[1:]).tile((self.groups, *[1] * (len(self.shape) - 1)))
        return self._spatial(F.dropout(x.to(right.dtype), dropout), kernel, like)

    def up(self, bottleneck: Tensor, left: Float[Tensor, "out k"]) -> Tensor:
        """A grouped 1x1 convolution from k channels to the output channels."""
        kernel = left.reshape(*left.shape, *[1] * self.spatial)
        return _POINTWISE[self.spatial](bottleneck, kernel, groups=self.groups)

    def down_by_sides(
        self,
        x: Tensor,
        first: Float[Tensor, "in k"],
        sides: Sequence[Float[Tensor, "_ k"] | None],
        like: Tensor,
        dropout: float = 0.0,
    ) -> Tensor:
        """What `down` gives for a right factor whose kernel is the outer product of `first` and the kernel's sides.

        Args:
            x: the layer's input.
            first: the side of the input channels, those of one group.
            sides: one for each spatial dimension, None where the kernel's length is 1 and its entry is 1.
            like: the layer's own output for `x`.
            dropout: probability of zeroing entries of the input.
        """
        pointwise = first.t().tile(self.groups, 1).reshape(-1, *first.shape[:1], *[1] * self.spatial)
        bottleneck = _POINTWISE[self.spatial](F.dropout(x.to(first.dtype), dropout), pointwise, groups=self.groups)
        if self.module.padding_mode != "zeros":
            margin = self.module._reversed_padding_repeated_twice
            bottleneck = F.pad(bottleneck, margin, mode=self.module.padding_mode)
        for dim, side in enumerate(sides):
            length = torch.ones(1, first.shape[1], dtype=first.dtype, device=first.device) if side is None else side
            shape = _only(dim, len(length), [1] * self.spatial)
            bottleneck = self._along(bottleneck, length.t().tile(self.groups, 1).reshape(-1, 1, *shape), dim, like)
        return bottleneck

    def _spatial(self, x: Tensor, kernel: Tensor, like: Tensor) -> Tensor:
        return self.module._conv_forward(x, kernel, None)

    def _along(self, x: Tensor, kernel: Tensor, dim: int, like: Tensor) -> Tensor:
        """Each channel convolved along one spatial dimension, with the layer's settings for that dimension."""
        layer, ones, padding = self.module, [1] * self.spatial, self.module.padding
        if not isinstance(padding, str):
            padding = _only(dim, padding[dim], [0] * self.spatial)
        return _POINTWISE[self.spatial](
            x,
            kernel,
            None,
            _only(dim, layer.stride[dim], ones),
            padding if layer.padding_mode == "zeros" else 0,
            _only(dim, layer.dilation[dim], ones),
            len(kernel),
        )


class ConvTransposeTarget(ConvTarget):
    """The kernel of a transposed convolution, stored [in, out / groups, *kernel]."""

    def to_storage(self, canonical: Float[Tensor, "out in *kernel"]) -> Tensor:
        """[in, out / groups, *kernel], group by group."""
        grouped = canonical.reshape(self.groups, canonical.shape[0] // self.groups, *canonical.shape[1:])
        return grouped.transpose(1, 2).reshape(-1, *grouped.shape[1:2], *canonical.shape[2:])

    def from_storage(self, stored: Tensor) -> Float[Tensor, "out in *kernel"]:
        """[out, in / groups, *kernel], group by group."""
        grouped = stored.reshape(self.groups, stored.shape[0] // self.groups, *stored.shape[1:])
        return grouped.transpose(1, 2).reshape(-1, *grouped.shape[1:2], *stored.shape[2:])

    def _spatial(self, x: Tensor, kernel: Tensor, like: Tensor) -> Tensor:
        layer, extra = self.module, [self._output_padding(x, like, dim) for dim in range(self.spatial)]
        return _TRANSPOSED[self.spatial](
            x, self.to_storage(kernel), None, layer.stride, layer.padding, extra, self.groups, layer.dilation
        )

    def _along(self, x: Tensor, kernel: Tensor, dim: int, like: Tensor) -> Tensor:
        layer, ones, zeros = self.module, [1] * self.spatial, [0] * self.spatial
        return _TRANSPOSED[self.spatial](
            x,
            kernel,
            None,
            _only(dim, layer.stride[dim], ones),
            _only(dim, layer.padding[dim], zeros),
            _only(dim, self._output_padding(x, like, dim), zeros),
            len(kernel),
            _only(dim, layer.dilation[dim], ones),
        )

    def _output_padding(self, x: Tensor, like: Tensor, dim: int) -> int:
        """What the layer must have added at the end of one spatial dimension to give an output as large as `like`."""
        layer, at = self.module, dim - self.spatial
        reach = layer.dilation[dim] * (layer.kernel_size[dim] - 1) + 1
        return like.shape[at] - ((x.shape[at] - 1) * layer.stride[dim] - 2 * layer.padding[dim] + reach)


def _only(dim: int, value: int, others: list[int]) -> list[int]:
    """`others` with `value` at `dim`."""
    return [*others[:dim], value, *others[dim + 1 :]]

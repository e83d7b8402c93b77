# SPDX-License-Identifier: Apache-2.0
"""Kernels of convolutions in one, two and three dimensions, transposed ones included.

The canonical kernel is [out, in / groups, *kernel] and its matrix [out, in / groups * prod(kernel)]. A factored delta
runs as two convolutions: the right factor as a spatial one with the layer's own stride, padding, padding mode,
dilation and groups, the left factor as a 1x1 one. With groups, every group has the same right factor and its own rows
of the left one, so that left @ right is the delta of the kernel for any number of groups, depthwise layers included.
"""

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

    def _spatial(self, x: Tensor, kernel: Tensor, like: Tensor) -> Tensor:
        return self.module._conv_forward(x, kernel, None)


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
        layer = self.module
        sizes = zip(
            like.shape[-self.spatial :],
            x.shape[-self.spatial :],
            layer.kernel_size,
            layer.stride,
            layer.padding,
            layer.dilation,
            strict=True,
        )
        output_padding = [
            out - ((size - 1) * stride - 2 * pad + dilation * (k - 1) + 1)
            for out, size, k, stride, pad, dilation in sizes
        ]
        return _TRANSPOSED[self.spatial](
            x, self.to_storage(kernel), None, layer.stride, layer.padding, output_padding, self.groups, layer.dilation
        )

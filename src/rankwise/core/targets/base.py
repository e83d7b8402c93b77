# SPDX-License-Identifier: Apache-2.0
"""One weight of a model, and how its layer applies a matrix.

Every kind of layer is read as y = M x for a canonical weight M of shape [out, in] (or an n-dimensional kernel
[out, in / groups, *kernel], or a stack [*batch, out, in]); a target turns canonical tensors into the layer's own
storage layout and back, and applies dense or factored deltas the way its layer applies its weight. A target knows
nothing of methods.
"""

import math
import zlib
from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankwise.core.lowrank import Product, folded
from rankwise.core.quantized import dequantized, is_quantized
from rankwise.core.rescaled import rescale
from rankwise.errors import MethodError, StateError


class Target(ABC):
    """One weight and the layer that applies it.

    Attributes:
        name: the path of the layer (of the weight, for weights read without calling a layer) in the model.
        module: the module that holds the weight; each kind of target reads its own layer's attributes.
        attr: the weight's attribute name in `module`.
        shape: the canonical shape, [out, in], [out, in / groups, *kernel] or [*batch, out, in].
        groups: groups of a convolution; 1 elsewhere.
        channel_dim: the dimension of the layer's output that counts output features.
        called: whether adapters act on the layer's input and output (otherwise on the weight itself).
        seed: seeds the target's own random numbers together with its name.
        bias_attr: the attribute of `module` that holds the bias, None if the weight has none.
        bias_channels: which entries of that bias belong to this weight.
        original: the weight as it was before a merge; None when nothing is merged.
        original_bias: the bias likewise.
        restoring: whether saved tensors will replace an adapter's initial values (a costly start can be skipped).
    """

    module: Any
    called = True
    groups = 1
    channel_dim = -1
    bias_attr: str | None = "bias"
    bias_channels = slice(None)

    def __init__(self, name: str, module: nn.Module, attr: str, shape: tuple[int, ...]) -> None:
        self.name, self.module, self.attr, self.shape = name, module, attr, tuple(shape)
        self.seed = 0
        self.original: Tensor | None = None
        self.original_bias: Tensor | None = None
        self.restoring = False

    @property
    def out_features(self) -> int:
        """Rows of the canonical matrix."""
        return self.matrix_shape[-2]

    @property
    def in_features(self) -> int:
        """Columns of the canonical matrix."""
        return self.matrix_shape[-1]

    @property
    def batch(self) -> tuple[int, ...]:
        """Leading dimensions of a stack of matrices, () for one matrix."""
        return self.matrix_shape[:-2]

    @property
    def matrix_shape(self) -> tuple[int, ...]:
        """Shape of `matrix()`: [*batch, out, in]; a kernel is flattened after its first dimension."""
        return (self.shape[0], math.prod(self.shape[1:]))

    @property
    def device(self) -> torch.device:
        """Where the weight lives."""
        return self.stored().device

    @property
    def compute_dtype(self) -> torch.dtype:
        """The dtype an adapter takes when none is asked for: float32, or float64 on a float64 base."""
        return torch.float64 if self.stored().dtype == torch.float64 else torch.float32

    @property
    def quantized(self) -> bool:
        """Whether the weight is stored in a quantized format and cannot be written."""
        return is_quantized(self.module, self.parameter())

    def generator(self) -> torch.Generator:
        """A fresh CPU generator that depends on the seed and on the target's name alone."""
        return torch.Generator().manual_seed((self.seed * 0x9E3779B1 + zlib.crc32(self.name.encode())) % 2**63)

    def parameter(self) -> nn.Parameter:
        """The parameter as the module holds it now, merged or not."""
        return self.module._parameters[self.attr]  # type: ignore[return-value]

    def stored(self) -> Tensor:
        """The base weight in its own layout and format, as it was before any merge."""
        return self.parameter() if self.original is None else self.original

    def weight(self, dtype: torch.dtype | None = None) -> Float[Tensor, "..."]:
        """The base weight in canonical shape, dequantized, in `dtype` (float32 unless the base is float64)."""
        dense = dequantized(self.module, self.stored()).detach()
        return self.from_storage(dense.to(dtype or self.compute_dtype))

    def matrix(self, dtype: torch.dtype | None = None) -> Float[Tensor, "*batch out in"]:
        """The base weight as a matrix; see `weight`."""
        return self.weight(dtype).reshape(self.matrix_shape)

    def bias(self) -> Float[Tensor, "*batch out"] | None:
        """The bias that the layer adds to this weight's output as it was before any merge, None if there is none."""
        if self.original_bias is not None:
            return self.original_bias
        stored = None if self.bias_attr is None else self.module._parameters.get(self.bias_attr)
        return None if stored is None else stored[self.bias_channels]

    def write(self, weight: Float[Tensor, "..."], bias: Float[Tensor, "*batch out"] | None) -> None:
        """Put a weight (in the module's layout) and a bias into the module; only merging does this."""
        self.parameter().copy_(weight)
        if bias is not None:
            self.module._parameters[self.bias_attr][self.bias_channels] = bias  # type: ignore[index]

    def to_storage(self, canonical: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """A canonical tensor in the layout in which the module stores the weight."""
        return canonical

    def from_storage(self, stored: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """A tensor in the module's layout, in canonical shape."""
        return stored

    def require_rank(self, rank: int, *, what: str = "rank") -> None:
        """Refuse a rank that the weight cannot have.

        Raises:
            MethodError: if `rank` is above min(out, in).
        """
        limit = min(self.out_features, self.in_features)
        if rank > limit:
            raise MethodError(
                f"{what} {rank} is above min(out, in) = {limit} of {self.name!r} ({self.out_features} x "
                f"{self.in_features}); choose a {what} of at most {limit}, or set it for this target alone with "
                f"ranks={{{self.name!r}: {limit}}}."
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, shape={list(self.shape)})"

    @abstractmethod
    def apply(self, x: Tensor, delta: Float[Tensor, "..."], like: Tensor) -> Tensor:
        """What the layer would output for input `x` with `delta` as its weight and no bias.

        Args:
            x: the layer's input.
            delta: canonical weight.
            like: the layer's own output for `x`, which fixes sizes that the input leaves open.
        """

    @abstractmethod
    def down(self, x: Tensor, right: Float[Tensor, "k in"], like: Tensor, dropout: float = 0.0) -> Tensor:
        """Apply the right factor to the input (after dropout on it); k channels for each group come out."""

    @abstractmethod
    def up(self, bottleneck: Tensor, left: Float[Tensor, "out k"]) -> Tensor:
        """Apply the left factor to what `down` gave."""

    def add_product(
        self, base: Tensor, x: Tensor, product: Product, dropout: float, inplace: bool, own: bool
    ) -> Tensor:
        """`base` plus the output of the product scale * left @ right for input `x`.

        Args:
            base: what the product is added to.
            x: the layer's input.
            product: left [out, k], right [k, in] and their scale.
            dropout: probability of zeroing entries of `x`, for the product alone.
            inplace: whether `base` may be overwritten.
            own: whether `base` is nothing but the layer's own output for `x`.
        """
        left, right = folded(product)
        return base + self.up(self.down(x, right.to(base.dtype), base, dropout), left.to(base.dtype))

    def weighed(
        self, bottleneck: Tensor, weights: Float[Tensor, "rows k"] | Float[Tensor, " k"], batch_dim: int
    ) -> Tensor:
        """Scale the channels that `down` gave, by one row of weights for each row of the batch.

        Raises:
            StateError: if `batch_dim` is the dimension of the channels, so that there are no rows to tell apart.
        """
        if weights.ndim == 2 and batch_dim == self.channel_dim % bottleneck.ndim:
            raise StateError(
                f"dimension {batch_dim} of the {bottleneck.ndim}-dimensional input of {self.name!r} counts features, "
                "not examples; pass a batched input, or the batch_dim at which this layer's input counts examples."
            )
        shape = [1] * bottleneck.ndim
        shape[self.channel_dim] = weights.shape[-1] * self.groups
        if weights.ndim == 2:
            shape[batch_dim] = weights.shape[0]
        return bottleneck * weights.tile((self.groups,)).reshape(shape).to(bottleneck.dtype)

    def mixed(self, output: Tensor, left: Float[Tensor, "out k"], right: Float[Tensor, "k out"]) -> Tensor:
        """Apply left @ right to the output features of a layer's output."""
        last = output.movedim(self.channel_dim, -1)
        product = nn.functional.linear(nn.functional.linear(last, right.to(last.dtype)), left.to(last.dtype))
        return product.movedim(-1, self.channel_dim)

    def by_channel(self, vector: Float[Tensor, " out"], output: Tensor) -> Tensor:
        """A vector over output features, shaped to broadcast against a layer's output."""
        shape = [1] * output.ndim
        shape[self.channel_dim] = -1
        return vector.to(output.dtype).reshape(shape)

    def rescaled(self, x: Tensor, output: Tensor, change: Float[Tensor, " out"]) -> Tensor:
        """What the layer gives for input `x` once each row of its weight is 1 + change times as large."""
        bias = self.bias()
        return rescale(output, self.by_channel(change, output), None if bias is None else self.by_channel(bias, output))

    def delta_gradient(self, x: Tensor, grad: Tensor, like: Tensor) -> Float[Tensor, "*batch out in"]:
        """The gradient of a loss by a dense delta, from the layer's input and the gradient by its output."""
        with torch.enable_grad():
            delta = torch.zeros(self.shape, dtype=grad.dtype, device=grad.device, requires_grad=True)
            output = self.apply(x.detach(), delta, like)
            (gradient,) = torch.autograd.grad(output, delta, grad)
        return gradient.reshape(self.matrix_shape)


class UncalledTarget(Target):
    """A weight that is read without its layer being called: adapters act on the weight, never on an input."""

    called = False

    def apply(self, x: Tensor, delta: Float[Tensor, "..."], like: Tensor) -> Tensor:
        """Refuse: there is no input to apply a matrix to."""
        raise self._no_input()

    def down(self, x: Tensor, right: Float[Tensor, "k in"], like: Tensor, dropout: float = 0.0) -> Tensor:
        """Refuse: there is no input to apply a matrix to."""
        raise self._no_input()

    def up(self, bottleneck: Tensor, left: Float[Tensor, "out k"]) -> Tensor:
        """Refuse: there is no input to apply a matrix to."""
        raise self._no_input()

    def _no_input(self) -> StateError:
        return StateError(f"{self.name!r} is read without calling its layer, so there is no input to apply a delta to.")

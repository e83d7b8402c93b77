# SPDX-License-Identifier: Apache-2.0
"""What one method adds to one weight.

An `Adapter` owes its dense delta; a `Factored` one owes two factors instead and never builds the delta in its forward.
The layer with the adapter computes

    y = layer(x) + scale * (adapter(x, layer(x)) - layer(x)),

which for a delta that does not read the layer's output is W x + scale * delta x + b.
"""

from abc import abstractmethod
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankwise.core.lowrank import Product
from rankwise.core.targets.base import Target
from rankwise.errors import MethodError, StateError

if TYPE_CHECKING:
    from rankwise.core.slot import Runtime


class Adapter(nn.Module):
    """The tensors that one method adds to one weight.

    Subclasses define `delta`. They override `forward` only if they read the layer's output or apply the delta in a
    cheaper way than as a dense matrix, and `bias_delta` if they move the bias.

    Attributes:
        target: the weight; not a submodule.
        shared: what the adapters of one adaptation share; not a submodule here, None if nothing is shared.
        reads_output: whether `forward` needs the layer's own output rather than only adding to it.
    """

    reads_output = False

    def __init__(self, target: Target, shared: nn.Module | None = None) -> None:
        super().__init__()
        object.__setattr__(self, "target", target)
        object.__setattr__(self, "shared", shared)
        object.__setattr__(self, "runtime", None)

    target: Target
    shared: nn.Module | None
    runtime: "Runtime | None"

    @abstractmethod
    def delta(self) -> Float[Tensor, "..."]:
        """The dense change of the weight, in the target's canonical shape."""

    def bias_delta(self) -> Float[Tensor, "*batch out"] | None:
        """The change of the layer's bias, None if the method leaves it alone."""
        return None

    def restored(self) -> None:
        """Called once the saved tensors are in: rebuild or check what was regenerated from the base instead of saved.

        Raises:
            CheckpointError: if the base does not give what the saved tensors were trained with.
        """

    def assign(self, left: Tensor, right: Tensor, bias: Tensor | None) -> None:
        """Make left @ right the delta and `bias` the bias delta; only methods that others convert to define this.

        Raises:
            MethodError: by default.
        """
        raise MethodError(f"{type(self).__name__} cannot hold a given delta; convert to LoRA(rank=...).")

    def forward(self, x: Tensor, base: Tensor) -> Tensor:
        """The layer's output with this adapter on it, from its input and its own output."""
        added = base + self.target.apply(x, self.delta(), base)
        bias = self.bias_delta()
        return added if bias is None else added + self.target.by_channel(bias, base)

    def value(self, name: str, rows: int | None = None) -> Tensor:
        """A named value of the current context.

        Args:
            name: the name, one of the method's `inputs`.
            rows: batch rows to spread the examples over; None where only a value that holds for all makes sense.

        Raises:
            StateError: if there is no such value, or it differs between examples where one value is needed.
        """
        context = None if self.runtime is None else self.runtime.current_context()
        if context is None or name not in context.values:
            raise StateError(
                f"{self.target.name!r} needs {name!r}, which is not the layer's own input; run this inside "
                f"`with adaptation.context({name}=...):`, one value for each example, or one number for all."
            )
        if rows is not None:
            return context.expanded(name, rows)
        if context.values[name].ndim > 0:
            raise StateError(
                f"{name!r} differs between examples, but a delta of the weight itself has one value; use "
                f"`with adaptation.context({name}=<one number>):` around the call."
            )
        return context.values[name]


class Factored(Adapter):
    """An adapter whose delta is left @ right.

    Attributes:
        dropout: probability of zeroing entries of the adapter's input while training.
    """

    dropout = 0.0

    @abstractmethod
    def factors(self) -> tuple[Float[Tensor, "*batch out k"], Float[Tensor, "*batch k in"]]:
        """The left and the right factor; every scaling belongs into one of them."""

    def product(self) -> Product:
        """The factors, with a number in front if the adapter keeps one out of them."""
        return Product(*self.factors())

    def delta(self) -> Float[Tensor, "..."]:
        """Left @ right in the target's canonical shape, in the wider dtype where a cast has set them apart."""
        left, right = self.factors()
        dtype = torch.promote_types(left.dtype, right.dtype)
        left, right = left.to(dtype), right.to(dtype)
        return (left @ right).reshape(self.target.shape)

    def forward(self, x: Tensor, base: Tensor) -> Tensor:
        """Base plus left (right x), without the dense delta."""
        return self.add(x, base)

    def add(self, x: Tensor, base: Tensor, scale: float = 1.0, *, inplace: bool = False, own: bool = False) -> Tensor:
        """Base plus scale * left (right x).

        Args:
            x: the layer's input.
            base: what is added to.
            scale: of the product and the bias delta.
            inplace: whether `base` may be overwritten.
            own: whether `base` is nothing but the layer's own output for `x`.
        """
        left, right, own_scale = self.product()
        output = self.add_product(x, base, Product(left, right, own_scale * scale), inplace, own)
        bias = self.bias_delta()
        return output if bias is None else output + scale * self.target.by_channel(bias, output)

    def add_product(self, x: Tensor, base: Tensor, product: Product, inplace: bool, own: bool) -> Tensor:
        """Base plus scale * left (right x)."""
        dropout = self.dropout if self.training else 0.0
        return self.target.add_product(base, x, product, dropout, inplace, own)


def kaiming_uniform(shape: tuple[int, ...], fan_in: int, generator: torch.Generator) -> Float[Tensor, "..."]:
    """Uniform on [-1, 1] / sqrt(fan_in): Kaiming's bound for a = sqrt(5), the usual start of a right factor."""
    return (torch.rand(shape, generator=generator) * 2 - 1) / fan_in**0.5

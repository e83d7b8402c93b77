# SPDX-License-Identifier: Apache-2.0
"""Weights of linear layers: `nn.Linear`, its quantized kin, and transformers' `Conv1D` (stored [in, out]).

y = M x with M [out, in]; a factored delta is added into the base output by one fused step, `add_low_rank`.
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise.core.lowrank import Product, add_low_rank
from rankwise.core.targets.base import Target


class LinearTarget(Target):
    """The weight of a linear layer.

    Args:
        name: path of the layer.
        module: the layer.
        transposed: whether the layer stores [in, out].
    """

    def __init__(self, name: str, module: Any, *, transposed: bool = False) -> None:
        self.transposed = transposed
        if transposed:
            shape = (module.weight.shape[1], module.weight.shape[0])
        else:
            shape = (module.out_features, module.in_features)
        super().__init__(name, module, "weight", shape)

    def to_storage(self, canonical: Float[Tensor, "out in"]) -> Tensor:
        """[out, in], or [in, out] for a transposed layer."""
        return canonical.t() if self.transposed else canonical

    def from_storage(self, stored: Tensor) -> Float[Tensor, "out in"]:
        """[out, in] from the layer's own layout."""
        return stored.t() if self.transposed else stored

    def apply(self, x: Float[Tensor, "*tokens in"], delta: Float[Tensor, "out in"], like: Tensor) -> Tensor:
        """Delta x for every token."""
        return F.linear(x.to(like.dtype), delta.to(like.dtype))

    def down(
        self, x: Float[Tensor, "*tokens in"], right: Float[Tensor, "k in"], like: Tensor, dropout: float = 0.0
    ) -> Float[Tensor, "*tokens k"]:
        """Right x for every token."""
        return F.linear(F.dropout(x.to(right.dtype), dropout), right)

    def up(self, bottleneck: Float[Tensor, "*tokens k"], left: Float[Tensor, "out k"]) -> Float[Tensor, "*tokens out"]:
        """Left z for every token."""
        return F.linear(bottleneck, left)

    def add_product(
        self, base: Tensor, x: Tensor, product: Product, dropout: float, inplace: bool, own: bool
    ) -> Tensor:
        """Base plus scale * left (right x), accumulated into `base` where that is allowed."""
        if dropout:
            return add_low_rank(base, F.dropout(x, dropout), product, inplace=inplace)
        frozen = self._frozen() if own else None
        return add_low_rank(base, x, product, inplace=inplace, weight=frozen)

    def _frozen(self) -> Tensor | None:
        """The weight of a plain `nn.Linear` that is not trained, whose gradient by x is W^T alone; None otherwise."""
        kind = getattr(type(self.module), "_rankwise_origin", (type(self.module),))[0]
        parameters = self.module._parameters
        if kind is not nn.Linear or any(p is not None and p.requires_grad for p in parameters.values()):
            return None
        return parameters["weight"]

    def delta_gradient(self, x: Tensor, grad: Tensor, like: Tensor) -> Float[Tensor, "out in"]:
        """The sum over tokens of grad x^T."""
        return grad.reshape(-1, self.out_features).t() @ x.reshape(-1, self.in_features).to(grad.dtype)


def is_transformers_conv1d(module: nn.Module) -> bool:
    """Whether a module is transformers' `Conv1D`, recognized without importing transformers."""
    return any(c.__name__ == "Conv1D" and c.__module__ == "transformers.pytorch_utils" for c in type(module).__mro__)

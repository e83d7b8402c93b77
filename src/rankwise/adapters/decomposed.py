# SPDX-License-Identifier: Apache-2.0
"""The length and the direction of each weight row apart: what DoRA adds to an update of any form.

    W = m V / ||V||,   V = W0 + dW,   m [out] trainable, ||W0|| at the start

The norm is taken over each row (over all of a kernel's entries that feed one output channel, over the vocabulary of an
embedding). Where dW = left right it comes from the factors, without V:

    ||V||^2 = ||W0||^2 + 2 <W0, left right> + ||left right||^2
            = ||W0||^2 + rowsum((2 W0 right^T + left (right right^T)) * left)

and the layer's output follows from the base's: y = (m / ||V||) (W0 x + dW x) + b. The bias is not scaled.

DoRA: Liu et al. 2024, arXiv 2402.09353; its section 4.3 treats the norm as a constant in the backward pass. Does not
say what dW is.
"""

from abc import abstractmethod
from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankwise.core.adapter import Adapter, Factored
from rankwise.core.lowrank import Product, without_autocast
from rankwise.core.targets import Target
from rankwise.linalg.svd import wide

_FLOOR = 1e-12  # smallest ||W0|| that counts: rows that are zero stay zero


class Decomposed(Adapter):
    """A magnitude beside an update of the direction, which subclasses define.

    Attributes:
        magnitude: m [*batch, out].
        base_norm: ||W0|| [*batch, out], at least 1e-12, computed again from the base when a checkpoint is loaded.
        detach_norm: whether ||V|| counts as a constant in the backward pass.
    """

    reads_output = True
    base_norm: Tensor

    def __init__(self, target: Target, detach_norm: bool) -> None:
        super().__init__(target)
        self.detach_norm = detach_norm
        norm = torch.linalg.vector_norm(target.matrix(), dim=-1).clamp_min(_FLOOR)
        self.register_buffer("base_norm", norm, persistent=False)
        self.magnitude = nn.Parameter(norm.clone())

    @abstractmethod
    def update(self) -> tuple[Tensor, ...]:
        """What makes dW as a matrix, every scaling inside: (left, right), or (dW,) itself."""

    @abstractmethod
    def added(self, x: Tensor, base: Tensor, update: tuple[Tensor, ...]) -> Tensor:
        """Base plus dW x for what `update` gave; `base` is the layer's own output and may be overwritten."""

    def delta(self) -> Float[Tensor, "..."]:
        """The change m V / ||V|| - W0, written so that it is exactly zero at the start."""
        update = self.update()
        product = reduce(torch.matmul, update)
        direction = self.target.matrix(product.dtype) + product
        return (product + self._change(*update)[..., None].to(product.dtype) * direction).reshape(self.target.shape)

    def forward(self, x: Tensor, base: Tensor) -> Tensor:
        """The base and the update together, rescaled; overwrites `base`."""
        if self.target.original is None:
            return self._output(x, base)
        own = self.target.apply(x, self.target.weight(base.dtype), base)  # `base` holds another adapter's delta now
        bias = self.target.bias()
        own = own if bias is None else own + self.target.by_channel(bias, own)
        return base + (self._output(x, own.clone()) - own)

    def _output(self, x: Tensor, base: Tensor) -> Tensor:
        update = self.update()
        return self.target.rescaled(x, self.added(x, base, update), self._change(*update))

    def _change(self, *update: Tensor) -> Float[Tensor, "*batch out"]:
        """The relative change of each row's length, m / ||V|| - 1."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.detach_norm):
            norm = self._norm(*update)
        return (self.magnitude.to(norm.dtype) - norm) / norm

    def _norm(self, left: Tensor, right: Tensor | None = None) -> Float[Tensor, "*batch out"]:
        """||W0 + left right||, or ||W0 + left||, by rows in float32 or wider."""
        dtype = wide(left.dtype)
        with without_autocast(left):
            norm = self.base_norm.to(dtype)
            if right is None:
                left = left.to(dtype)
                grown = torch.add(left, self.target.matrix(dtype), alpha=2).mul(left).sum(-1)
            else:
                grown = self._grown(left.to(dtype), right.to(dtype))
            return torch.addcmul(grown, norm, norm).clamp_min(_FLOOR**2 / 4).sqrt()  # below the start's

    def _grown(self, left: Tensor, right: Tensor) -> Float[Tensor, "*batch out"]:
        """||V||^2 - ||W0||^2 from the factors; W0 itself is read in its own 16 bits where it has them."""
        dtype, stored = left.dtype, self.target.stored().dtype
        narrow = stored if dtype == torch.float32 and stored in (torch.bfloat16, torch.float16) else dtype
        inner = (right.to(narrow) @ self.target.matrix(narrow).mT).to(dtype)
        return (torch.add((right @ right.mT) @ left.mT, inner, alpha=2) * left.mT).sum(-2)


class WithMagnitude(Decomposed):
    """A magnitude beside the update of any plain adapter.

    Attributes:
        plain: the adapter whose delta is dW.
    """

    def __init__(self, target: Target, plain: Adapter, detach_norm: bool) -> None:
        super().__init__(target, detach_norm)
        self.plain = plain

    def update(self) -> tuple[Tensor, ...]:
        """The plain adapter's factors, or its delta if it has none."""
        if isinstance(self.plain, Factored):
            return self.plain.factors()
        return (self.plain.delta().reshape(self.target.matrix_shape),)

    def added(self, x: Tensor, base: Tensor, update: tuple[Tensor, ...]) -> Tensor:
        """What the plain adapter adds, in its own cheapest way; by the factors at hand if it has no other."""
        if not isinstance(self.plain, Factored):
            return self.plain(x, base)
        if type(self.plain).add is Factored.add:
            left, right = update
            return self.plain.add_product(x, base, Product(left, right), inplace=True, own=True)
        return self.plain.add(x, base, inplace=True, own=True)

# SPDX-License-Identifier: Apache-2.0
"""Train the length and the direction of each weight row apart: a free length, a low-rank change of the direction.

    W = m V / ||V||,   V = W0 + s left right,   m [out] trainable, ||W0|| at the start,   s = alpha / rank

The norm is taken over each row (over all of a kernel's entries that feed one output channel, over the vocabulary of an
embedding). It comes from the factors, without V:

    ||V||^2 = ||W0||^2 + 2 s <W0, left right> + s^2 ||left right||^2
            = ||W0||^2 + rowsum((2 W0 right^T + s left (right right^T)) * s left)

and the layer's output follows from the base's: y = (m / ||V||) (W0 x + s left right x) + b. The bias is not scaled.

DoRA: Liu et al. 2024, arXiv 2402.09353; its section 4.3 treats the norm as a constant in the backward pass. Dropout
acts on the input of the low-rank branch alone, so that the base is computed once. Does not choose ranks by itself.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankwise.core.adapter import Adapter, kaiming_uniform
from rankwise.core.lowrank import without_autocast
from rankwise.core.method import Method, register
from rankwise.core.targets import Target
from rankwise.linalg.svd import wide

_FLOOR = 1e-12  # smallest ||W0|| that counts: rows that are zero stay zero


@register
@dataclass(frozen=True)
class DoRA(Method):
    """Weight-decomposed low-rank adaptation, W = m V / ||V|| with V = W0 + (alpha / rank) left right.

    Attributes:
        rank: inner dimension of the product.
        alpha: scale of the product; it is multiplied by alpha / rank.
        dropout: probability of zeroing entries of the low-rank branch's input in training.
        detach_norm: whether ||V|| counts as a constant in the backward pass, which saves the product left right its
            gradient through the norm; False gives the exact gradient.

    Raises:
        MethodError: if rank < 1, alpha <= 0 or dropout is outside [0, 1).
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    detach_norm: bool = True

    def validate(self) -> None:
        """Check ranges."""
        self.at_least("rank", 1)
        self.above("alpha", 0)
        self.probability("dropout")

    def adapter(self, target: Target) -> "DoRAAdapter":
        """Build the magnitude and the two factors for one weight."""
        return DoRAAdapter(target, self)


class DoRAAdapter(Adapter):
    """The magnitude and the factors of one weight.

    Attributes:
        magnitude: m [*batch, out].
        left: [*batch, out, r].
        right: [*batch, r, in].
        base_norm: ||W0|| [*batch, out], at least 1e-12, computed again from the base when a checkpoint is loaded.
    """

    reads_output = True

    def __init__(self, target: Target, method: DoRA) -> None:
        super().__init__(target)
        target.require_rank(method.rank)
        self.scaling, self.dropout, self.detach_norm = method.alpha / method.rank, method.dropout, method.detach_norm
        norm = torch.linalg.vector_norm(target.matrix(), dim=-1).clamp_min(_FLOOR)
        self.register_buffer("base_norm", norm, persistent=False)
        self.magnitude = nn.Parameter(norm.clone())
        shape = (*target.batch, method.rank, target.in_features)
        self.right = nn.Parameter(kaiming_uniform(shape, target.in_features, target.generator()))
        self.left = nn.Parameter(torch.zeros(*target.batch, target.out_features, method.rank))

    base_norm: Tensor

    def delta(self) -> Float[Tensor, "..."]:
        """The change m V / ||V|| - W0, written so that it is exactly zero at the start."""
        left = self.scaling * self.left
        product = left @ self.right
        direction = self.target.matrix(product.dtype) + product
        return (product + self._change(left)[..., None].to(product.dtype) * direction).reshape(self.target.shape)

    def forward(self, x: Tensor, base: Tensor) -> Tensor:
        """The base and the product together, rescaled; overwrites `base`."""
        if self.target.original is None:
            return self._output(x, base)
        own = self.target.apply(x, self.target.weight(base.dtype), base)  # `base` holds another adapter's delta now
        bias = self.target.bias()
        own = own if bias is None else own + self.target.by_channel(bias, own)
        return base + (self._output(x, own.clone()) - own)

    def assign(self, left: Tensor, right: Tensor, bias: Tensor | None) -> None:
        """Make left @ right the delta, and m the norm of what that gives."""
        with torch.no_grad():
            self.left.copy_(left / self.scaling)
            self.right.copy_(right)
            self.magnitude.copy_(self._norm(self.scaling * self.left, self.right))

    def _output(self, x: Tensor, base: Tensor) -> Tensor:
        left = self.scaling * self.left
        dropout = self.dropout if self.training else 0.0
        added = self.target.add_product(base, x, (left, self.right), dropout, inplace=True, own=True)
        return self.target.rescaled(x, added, self._change(left))

    def _change(self, left: Float[Tensor, "*batch out r"]) -> Float[Tensor, "*batch out"]:
        """The relative change of each row's length, m / ||V|| - 1, from s left."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.detach_norm):
            norm = self._norm(left, self.right)
        return (self.magnitude.to(norm.dtype) - norm) / norm

    def _norm(
        self, left: Float[Tensor, "*batch out r"], right: Float[Tensor, "*batch r in"]
    ) -> Float[Tensor, "*batch out"]:
        """||W0 + left right|| by rows in float32 or wider; W0 itself is read in its own 16 bits where it has them."""
        dtype, stored = wide(left.dtype), self.target.stored().dtype
        narrow = stored if dtype == torch.float32 and stored in (torch.bfloat16, torch.float16) else dtype
        with without_autocast(left):
            left, right, norm = left.to(dtype).mT, right.to(dtype), self.base_norm.to(dtype)
            inner = (right.to(narrow) @ self.target.matrix(narrow).mT).to(dtype)
            cross = torch.add((right @ right.mT) @ left, inner, alpha=2) * left
            return torch.addcmul(cross.sum(-2), norm, norm).clamp_min(_FLOOR**2 / 4).sqrt()  # below the start's

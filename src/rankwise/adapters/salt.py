# SPDX-License-Identifier: Apache-2.0
"""Scale and shift the leading singular values of each frozen weight; add a low-rank matrix to the core of the others.

    W = U relu(C) V,   U diag(S) V = svd(W0),   C = diag(S) with
    C_jj = scale_j S_j + shift_j for j < r,   C[r:, r:] = diag(S[r:]) + X Y,   X [k - r, d], Y [d, k - r]

The relu acts on every entry of the core, as published: a singular value cannot turn negative, and neither can an entry
beside the diagonal. The change of the core is then max(C - diag(S), -diag(S)), so nothing is lost to rounding next to a
large singular value and the delta is exactly zero at the start. Stored and trained is scale - 1, which weight decay
pulls towards the base. The penalty, if wanted, is lambda (||scale S + shift - S||_2 + ||X Y||_F).

X and Y mean something in one choice of singular vectors alone, so U, S and V are saved with them and never computed
again; signs are fixed by making the largest entry of each row of V positive.

SALT: arXiv 2503.16055 (2025). Does not choose r by itself, and trains no normalization layers beside the weights.
"""

from dataclasses import dataclass
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankwise.core.adapter import Factored
from rankwise.core.lowrank import Product
from rankwise.core.method import Method, register
from rankwise.core.targets import Target
from rankwise.core.training import Training
from rankwise.errors import MethodError
from rankwise.linalg import svd


@register
@dataclass(frozen=True)
class SALT(Method):
    """Singular value adaptation with a low-rank tail, W = U relu(C) V.

    Attributes:
        rank: r, how many leading singular values get a scale and a shift; None takes half of min(out, in).
        tail_rank: d, inner dimension of the product that is added to the core of the other singular values.
        relu: whether negative entries of the core count as zero (the paper's method).
        init: start of X and Y: "identity" (X uniform on [-1, 1] sqrt(6 / d), Y zero: the base function), or "sam" (both
            normal with standard deviation 0.01, which moves the function a little).
        penalty_weight: lambda; 0 leaves the penalty out.

    Raises:
        MethodError: if a rank or lambda is negative, or both ranks are 0; on a target, if r is above min(out, in) or
            nothing is left to train.
    """

    rank: int | None = None
    tail_rank: int = 8
    relu: bool = True
    init: Literal["identity", "sam"] = "identity"
    penalty_weight: float = 0.0

    def validate(self) -> None:
        """Check ranges."""
        if self.rank is not None:
            self.at_least("rank", 0)
        self.at_least("tail_rank", 0)
        self.at_least("penalty_weight", 0)
        if self.rank == 0 and self.tail_rank == 0:
            raise MethodError(
                "SALT.rank and SALT.tail_rank are both 0, which leaves nothing to train; set at least one of them to "
                "1 or more."
            )

    def adapter(self, target: Target) -> "SALTAdapter":
        """Decompose one weight."""
        return SALTAdapter(target, self)

    def penalty(self, training: Training) -> Tensor | None:
        """Lambda times the sum over weights of both norms of the change."""
        if not self.penalty_weight:
            return None
        norms = [cast(SALTAdapter, one).change_norm() for one in training.adapters.values()]
        return self.penalty_weight * torch.stack([norm.to(norms[0].device) for norm in norms]).sum()


class SALTAdapter(Factored):
    """The core of one weight.

    Attributes:
        scale_change: [*batch, r], scale - 1; None if r = 0, as `shift`.
        shift: [*batch, r].
        left: X [*batch, k - r, d]; None if r = k or d = 0, as `right`.
        right: Y [*batch, d, k - r].
        u: [*batch, out, k], saved, as `s` [*batch, k] and `v` [*batch, k, in].
    """

    u: Tensor
    s: Tensor
    v: Tensor

    def __init__(self, target: Target, method: SALT) -> None:
        super().__init__(target)
        limit = min(target.out_features, target.in_features)
        rank = limit // 2 if method.rank is None else method.rank
        target.require_rank(rank)
        tail = limit - rank if method.tail_rank else 0
        if rank + tail == 0:
            raise MethodError(
                f"{target.name!r} ({target.out_features} x {target.in_features}) has a single singular value, of which "
                "SALT(rank=None, tail_rank=0) trains half, that is none; set rank=1, or leave it out of targets."
            )
        self.rank, self.relu = rank, method.relu
        for name, value in zip("usv", _decomposed(target, limit), strict=True):
            self.register_buffer(name, value)
        vector = torch.zeros(*target.batch, rank)
        self.scale_change = nn.Parameter(vector) if rank else None
        self.shift = nn.Parameter(vector.clone()) if rank else None
        self.left, self.right = _start(target, method, tail) if tail else (None, None)

    def factors(self) -> tuple[Float[Tensor, "*batch out m"], Float[Tensor, "*batch m in"]]:
        """The change of the core between U and V; without relu the tail is ([U X], [Y V]), d wide."""
        lefts, rights = [], []
        if self.rank:
            lefts.append(self.u[..., : self.rank] * self._head()[..., None, :])
            rights.append(self.v[..., : self.rank, :])
        if self.left is not None and self.right is not None:
            u, v = self.u[..., self.rank :], self.v[..., self.rank :, :]
            lefts.append(u @ (self._tail() if self.relu else self.left))
            rights.append(v if self.relu else self.right @ v)
        return torch.cat(lefts, dim=-1), torch.cat(rights, dim=-2)

    def add(self, x: Tensor, base: Tensor, scale: float = 1.0, *, inplace: bool = False, own: bool = False) -> Tensor:
        """Base plus scale * the change applied to the input, by its factors or, for many tokens, as one matrix."""
        left, right = self.factors()
        left = left if scale == 1.0 else left * scale
        if not self._dense_is_cheaper(x, base, right.shape[-2]):
            return self.add_product(x, base, Product(left, right), inplace, own)
        return base + self.target.apply(x, (left @ right).reshape(self.target.shape), base)

    def change_norm(self) -> Float[Tensor, ""]:
        """||scale S + shift - S||_2 + ||X Y||_F, both summed over a stack, their gradients zero where they are."""
        total = self.s.new_zeros(())
        if self.scale_change is not None and self.shift is not None:
            change = self.scale_change * self.s[..., : self.rank] + self.shift
            total = total + torch.linalg.vector_norm(change, dim=-1).sum()
        if self.left is not None and self.right is not None:
            total = total + torch.linalg.matrix_norm(self.left @ self.right).sum()
        return total

    def _head(self) -> Float[Tensor, "*batch r"]:
        """What the leading singular values change by."""
        assert self.scale_change is not None and self.shift is not None
        s = self.s[..., : self.rank]
        change = self.scale_change * s + self.shift
        return _above(change, -s) if self.relu else change

    def _tail(self) -> Float[Tensor, "*batch n n"]:
        """What the core of the other singular values changes by."""
        assert self.left is not None and self.right is not None
        change = self.left @ self.right
        return _above(change, -torch.diag_embed(self.s[..., self.rank :])) if self.relu else change

    def _dense_is_cheaper(self, x: Tensor, base: Tensor, width: int) -> bool:
        """Whether one product out x in a token, and the matrix for it, cost less than two products of `width`."""
        target = self.target
        if not x.is_floating_point():  # a right factor applied to an index is a look-up
            return False
        out, inputs, tokens = target.out_features, target.in_features, base.numel() // target.out_features
        return tokens * (width * (out + target.groups * inputs) - out * inputs) > width * out * inputs


def _above(change: Tensor, floor: Tensor) -> Tensor:
    """Relu(change - floor) + floor; like relu, without a gradient where both are equal, and NaN for NaN."""
    return torch.where(change <= floor, floor, change)


def _decomposed(
    target: Target, rank: int
) -> tuple[Float[Tensor, "*batch out k"], Float[Tensor, "*batch k"], Float[Tensor, "*batch k in"]]:
    if target.restoring:
        shapes = ((target.out_features, rank), (rank,), (rank, target.in_features))
        u, s, v = (torch.zeros(*target.batch, *shape) for shape in shapes)
        return u, s, v
    u, s, v = svd(target.matrix())
    sign = v.gather(-1, v.abs().argmax(-1, keepdim=True)).sign()
    return u * sign.mT, s, v * sign


def _start(target: Target, method: SALT, tail: int) -> tuple[nn.Parameter, nn.Parameter]:
    """X and Y."""
    width, generator = method.tail_rank, target.generator()
    left, right = (*target.batch, tail, width), (*target.batch, width, tail)
    if method.init == "sam":
        both = [0.01 * torch.randn(shape, generator=generator) for shape in (left, right)]
        return nn.Parameter(both[0]), nn.Parameter(both[1])
    start = (torch.rand(left, generator=generator) * 2 - 1) * (6 / width) ** 0.5
    return nn.Parameter(start), nn.Parameter(torch.zeros(right))

# SPDX-License-Identifier: Apache-2.0
"""Add a sum of frozen random products that reaches full rank, each weighed by two trainable diagonals.

    W = W0 + s sum_j B_j diag(lam_j) A diag(gam_j),   j = 1 ... n = ceil(min(in, out) / r),
    B_j [max(in, out), r] and A [r, min(in, out)] frozen,   lam_j [r] and gam_j [min(in, out)] trained,
    s = alpha / (r sqrt(n)), or alpha / r with scaling="peft"

(transposed where in > out, so that gam always scales the smaller side). The bases are drawn from the seed at the
largest size that any layer needs; every layer uses their leading parts, and no checkpoint holds them. A smaller r
means more parameters, n (r + min(in, out)). While all gam_j are equal the update has rank r, as after the first step
from the usual start; it reaches full rank in the steps after that.

RandLoRA: Albert et al. 2025, arXiv 2502.00987. Does not choose r by itself, and saves nothing in arithmetic: the two
products cost as much as one or two of the layer's own.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise.adapters.diagonals import AddWeighed, Slices, Weighed, weighed
from rankwise.adapters.random_bases import Bases
from rankwise.core.adapter import Factored
from rankwise.core.lowrank import needs_plain_formula
from rankwise.core.method import Method, register
from rankwise.core.targets import LinearTarget, Target
from rankwise.errors import MethodError


@register
@dataclass(frozen=True)
class RandLoRA(Method):
    """Full-rank update from shared random bases, W = W0 + s sum_j B_j diag(lam_j) A diag(gam_j).

    Attributes:
        rank: r, the rank of one product, the same for all targets; a smaller one means more parameters.
        alpha: scale of the update; None means 2 rank, which keeps s the same when the rank changes.
        scaling: "sqrt_n" divides alpha by rank sqrt(n), "peft" by rank.
        dropout: probability of zeroing entries of the adapter's input in training.
        init: what starts at zero: "lambda_zero" (gam at 1 / min(in, out)) or "gamma_zero" (lam at 1 / max(n, r)), from
            which the first update is not confined to rank r.
        basis: entries of the bases before they are divided by their standard deviation: "uniform", "normal", or -1, 0
            and 1 with two thirds zeros ("sparse") or all but 1 / sqrt(smaller side) of them ("very_sparse"); "bfloat16"
            is "uniform" with every step in that precision, which PEFT's numbers were trained with.
        pairing: which column of the bases B meets which row of A: that of the formula ("paper"), or the other order
            that all published code has and its checkpoints need ("peft").

    Raises:
        MethodError: if rank < 1, alpha <= 0, dropout is outside [0, 1), a target is given a rank of its own, or the
            layers are so small that all numbers of a basis are alike.
    """

    rank: int = 32
    alpha: float | None = None
    scaling: Literal["sqrt_n", "peft"] = "sqrt_n"
    dropout: float = 0.0
    init: Literal["lambda_zero", "gamma_zero"] = "lambda_zero"
    basis: Literal["uniform", "normal", "sparse", "very_sparse", "bfloat16"] = "uniform"
    pairing: Literal["paper", "peft"] = "paper"

    def validate(self) -> None:
        """Check ranges."""
        self.at_least("rank", 1)
        if self.alpha is not None:
            self.above("alpha", 0)
        self.probability("dropout")

    def shared(self, targets: list[Target]) -> Bases:
        """Draw the bases that all targets slice."""
        return Bases(targets, self)

    def adapter(self, target: Target, shared: Bases) -> "RandLoRAAdapter":
        """Build the diagonals of one weight."""
        return RandLoRAAdapter(target, self, shared)


class RandLoRAAdapter(Factored):
    """The diagonals of one weight.

    Attributes:
        lam: [*batch, n, r].
        gam: [*batch, n, min(in, out)].
    """

    shared: Bases

    def __init__(self, target: Target, method: RandLoRA, shared: Bases) -> None:
        super().__init__(target, shared)
        if method.rank != len(shared.a):
            raise MethodError(
                f"rank {method.rank} of {target.name!r} is not the {len(shared.a)} of the bases that all targets "
                "share; give RandLoRA one rank for all, and targets of another rank an adaptation of their own."
            )
        small, self.large = sorted((target.in_features, target.out_features))
        self.count = math.ceil(small / method.rank)
        self.wide = target.in_features <= target.out_features
        self.by_rank, self.dropout = method.pairing == "peft", method.dropout
        alpha = 2 * method.rank if method.alpha is None else method.alpha
        self.scaling = alpha / method.rank / (self.count**0.5 if method.scaling == "sqrt_n" else 1)
        lam, gam = (0.0, 1 / small) if method.init == "lambda_zero" else (1 / max(self.count, method.rank), 0.0)
        self.lam = nn.Parameter(torch.full((*target.batch, self.count, method.rank), lam))
        self.gam = nn.Parameter(torch.full((*target.batch, self.count, small), gam))

    def factors(self) -> tuple[Float[Tensor, "*batch out k"], Float[Tensor, "*batch k in"]]:
        """(B, s diag(lam) A diag(gam)) with all products side by side, or its transpose for in > out."""
        a, b = self._bases()
        lam = self.scaling * self.lam
        plain = needs_plain_formula(lam, self.gam)
        scaled = (weighed if plain else Weighed.apply)(a, lam, self.gam, self.by_rank)
        b = b.expand(*self.target.batch, -1, -1)
        return (b, scaled) if self.wide else (scaled.mT, b.mT)

    def add(self, x: Tensor, base: Tensor, scale: float = 1.0, *, inplace: bool = False, own: bool = False) -> Tensor:
        """Base plus scale * the update's output; on a linear layer backward needs its input and the diagonals alone."""
        a, b = self._bases()
        if not isinstance(self.target, LinearTarget) or needs_plain_formula(x, base, self.lam, self.gam, a):
            return super().add(x, base, scale, inplace=inplace, own=own)
        x = F.dropout(x.to(base.dtype), self.dropout, self.training)
        frozen = Slices(a, b.to(base.dtype), self.wide, self.by_rank)
        return AddWeighed.apply(base, x, scale * self.scaling * self.lam, self.gam, frozen)

    def restored(self) -> None:
        """Check that the seed gave the bases that the diagonals were trained with.

        Raises:
            CheckpointError: if it did not.
        """
        self.shared.require_same()

    def _bases(self) -> tuple[Float[Tensor, "r small"], Float[Tensor, "large k"]]:
        """This layer's part of A and of all B_j side by side; views."""
        a, b = self.shared.a.to(self.lam.device), self.shared.b.to(self.lam.device)
        return a[:, : self.gam.shape[-1]], b[: self.large, : self.count].flatten(1)

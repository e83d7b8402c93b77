# SPDX-License-Identifier: Apache-2.0
"""Train only the leading singular values of each frozen weight; the singular vectors stay.

    W = W0 + U_r diag(sigma - S_r) V_r,   U diag(S) V = svd(W0),   sigma trainable, sigma = S_r at the start

What is stored and trained is `change`, sigma = S_r + change, or sigma = S_r (1 + change) if relative. That is the same
method, but weight decay then pulls towards the base and not towards a weight without spectrum, and a small change of a
large singular value is not rounded away.

SVFit: arXiv 2409.05926 (2024). sigma may become negative, as in the paper. Does not train directions: a change of W0
that is not diagonal in its singular vectors is out of reach at any rank.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankwise.adapters.diagonal import Diagonal
from rankwise.core.method import Method, register
from rankwise.core.targets import Target
from rankwise.errors import MethodError
from rankwise.linalg import svd


@register
@dataclass(frozen=True)
class SVFit(Method):
    """Fine-tuning of singular values, W = W0 + U_r diag(sigma - S_r) V_r.

    Attributes:
        rank: how many leading singular values train; None trains all min(out, in), or as many as `energy` asks for.
        energy: train the smallest number whose squares make up this share of the sum of all squares.
        relative: train sigma / S_r instead of sigma, so that a step moves every singular value by the same share.

    Raises:
        MethodError: if rank < 1, energy is outside (0, 1], or both are given.
    """

    rank: int | None = None
    energy: float | None = None
    relative: bool = False

    def validate(self) -> None:
        """Check ranges."""
        if self.rank is not None and self.energy is not None:
            raise MethodError(
                f"SVFit got both rank={self.rank} and energy={self.energy}, which each fix how many singular values "
                "train; give one of them."
            )
        if self.rank is not None:
            self.at_least("rank", 1)
        if self.energy is not None and not 0 < self.energy <= 1:
            raise MethodError(f"SVFit.energy must be in (0, 1], got {self.energy}.")

    def adapter(self, target: Target) -> "SVFitAdapter":
        """Decompose one weight."""
        return SVFitAdapter(target, self)


class SVFitAdapter(Diagonal):
    """The singular values of one weight.

    Attributes:
        change: [*batch, r], sigma - S_r, or sigma / S_r - 1 if relative.
        s0: [*batch, r], the base's singular values S_r.
    """

    s0: Tensor

    def __init__(self, target: Target, method: SVFit) -> None:
        if method.rank is not None:
            target.require_rank(method.rank)
        u, s, v = svd(target.matrix())
        rank = method.rank if method.energy is None else _covering(s, method.energy)
        super().__init__(target, u[..., :rank].clone(), v[..., :rank, :].clone())
        self.relative = method.relative
        self.change = nn.Parameter(torch.zeros_like(s[..., :rank]))
        self.register_buffer("s0", s[..., :rank].clone())

    @property
    def sigma(self) -> Float[Tensor, "*batch r"]:
        """The singular values as they are now, in the base's order; negative ones are possible."""
        return self.s0 + self.diagonal()

    def diagonal(self) -> Float[Tensor, "*batch r"]:
        """Sigma - S_r."""
        return self.s0 * self.change if self.relative else self.change

    def restored(self) -> None:
        """Check the singular values and vectors of this base against those of the base the adapter was trained on.

        Raises:
            CheckpointError: if they differ.
        """
        present = (self.left * (self.target.matrix() @ self.right.mT.to(self.target.compute_dtype))).sum(-2)
        self.require_same("the singular values", present, self.s0)
        super().restored()


def _covering(s: Float[Tensor, "*batch k"], energy: float) -> int:
    """The smallest number of leading singular values with that share of the sum of squares in every matrix."""
    sums = s.double().square().cumsum(-1)
    return int((sums < energy * sums[..., -1:]).sum(-1).max()) + 1

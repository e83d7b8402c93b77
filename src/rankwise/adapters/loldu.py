# SPDX-License-Identifier: Apache-2.0
"""Train the pivots of a lower-diagonal-upper factorisation of each frozen weight.

    W = W0 + P L_r diag(sigma z - sigma0 z0) U_r,   P L diag(D) U = W0,   z [r] and the number sigma trainable

L_r and U_r are the first r columns and rows in the order of elimination; they are unit triangular, not orthogonal, and
not sorted by importance. Stored and trained are the differences z - z0 and sigma - sigma0, so that weight decay pulls
towards the base. Every start z0 gives the base function; it matters only through the gradient of sigma, linear in
z, and with sigma fixed it cancels from the method altogether.

LoLDU: arXiv 2410.13618 (2024). Offers only starts that keep the base function: the published code has four more, whose
collapse in the paper's ablation comes from a residual that was computed with another z0. Drops a component whose pivot
is below 1e-4 of the largest, since its row of U would be that much larger than the weight.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankwise.adapters.diagonal import Diagonal
from rankwise.core.method import Method, register
from rankwise.core.targets import Target
from rankwise.errors import CheckpointError, MethodError
from rankwise.linalg.ldu import ldu


@register
@dataclass(frozen=True)
class LoLDU(Method):
    """Adaptation of LDU pivots, W = W0 + P L_r diag(sigma z - sigma0 z0) U_r.

    Attributes:
        rank: how many components train, the first ones in the order of elimination; None trains all min(out, in).
        alpha: sigma starts at alpha / rank; None starts it at 1, as the paper does.
        init: z0: the pivots D_r ("lu"), their mean m ("constant"), uniform on [-|m| / 2, |m| / 2], or normal with
            the mean and standard deviation of D_r.
        train_sigma: whether the common scale sigma trains too.

    Raises:
        MethodError: if rank < 1 or alpha <= 0; on a target, if the rank is too large or no pivot is large enough.
    """

    rank: int | None = None
    alpha: float | None = None
    init: Literal["uniform", "lu", "constant", "normal"] = "uniform"
    train_sigma: bool = True

    def validate(self) -> None:
        """Check ranges."""
        if self.rank is not None:
            self.at_least("rank", 1)
        if self.alpha is not None:
            self.above("alpha", 0)

    def adapter(self, target: Target) -> "LoLDUAdapter":
        """Factor one weight."""
        return LoLDUAdapter(target, self)


class LoLDUAdapter(Diagonal):
    """The pivots of one weight.

    Attributes:
        change: [*batch, r], z - z0.
        sigma_change: [*batch, 1], sigma - sigma0, only with `train_sigma=True`.
        z0: [*batch, r].
        rows: [*batch, r], the rows of the weight in the order of elimination.
        largest_first: [*batch, r], the order that pivoting on this base gave; not saved.
    """

    z0: Tensor
    rows: Tensor
    largest_first: Tensor

    def __init__(self, target: Target, method: LoLDU) -> None:
        rank = min(target.matrix_shape[-2:]) if method.rank is None else method.rank
        target.require_rank(rank)
        left, d, right, rows = ldu(target.matrix(torch.float64))
        if not bool((d[..., :rank] != 0).any(-1).all()):
            raise MethodError(
                f"{target.name!r} has no pivot among the first {rank} to train (all are zero, or below 1e-4 of the "
                "largest); leave it out of targets, raise the rank, or use SVFit there."
            )
        super().__init__(target, left[..., :rank].clone(), right[..., :rank, :].clone())
        self.sigma0 = 1.0 if method.alpha is None else method.alpha / rank
        z0 = _start(d[..., :rank], method, target.generator()).to(target.compute_dtype)
        self.change = nn.Parameter(torch.zeros_like(z0))
        self.sigma_change = nn.Parameter(torch.zeros_like(z0[..., :1])) if method.train_sigma else None
        self.register_buffer("z0", z0)
        self.register_buffer("rows", rows[..., :rank].clone())
        self.register_buffer("largest_first", self.rows.clone(), persistent=False)

    @property
    def z(self) -> Float[Tensor, "*batch r"]:
        """The trained pivots as they are now."""
        return self.z0 + self.change

    @property
    def sigma(self) -> Float[Tensor, "*batch 1"]:
        """The common scale as it is now."""
        fixed = torch.full_like(self.z0[..., :1], self.sigma0)
        return fixed if self.sigma_change is None else fixed + self.sigma_change

    def diagonal(self) -> Float[Tensor, "*batch r"]:
        """Sigma z - sigma0 z0, written so that it is exactly zero at the start."""
        fixed = self.sigma0 * self.change
        return fixed if self.sigma_change is None else fixed + self.sigma_change * self.z

    def restored(self) -> None:
        """Factor this base in the saved order of rows if pivoting gave another one, and check the factors.

        Rounding a base to another dtype turns near-ties between pivots round and with them every later component; in
        the saved order the factors hardly move.

        Raises:
            CheckpointError: if the saved order is not one of this base's rows, or the factors differ.
        """
        out, rank = self.target.out_features, self.rows.shape[-1]
        ordered = self.rows.sort(-1).values
        if bool((ordered < 0).any() or (ordered >= out).any() or (ordered.diff(dim=-1) == 0).any()):
            raise CheckpointError(f"{self.target.name!r}: rows must be distinct numbers from 0 to {out - 1}.")
        if not torch.equal(self.rows, self.largest_first):
            left, _, right, _ = ldu(self.target.matrix(torch.float64), self.rows)
            self.left.copy_(left[..., :rank])
            self.right.copy_(right[..., :rank, :])
        super().restored()


def _start(d: Float[Tensor, "*batch r"], method: LoLDU, generator: torch.Generator) -> Float[Tensor, "*batch r"]:
    """z0 from the pivots, those of dropped components left out of the statistics."""
    kept = d != 0
    count = kept.sum(-1, keepdim=True)
    mean = d.sum(-1, keepdim=True) / count
    if method.init == "lu":
        return d
    if method.init == "constant":
        return mean.expand_as(d).clone()
    if method.init == "uniform":
        noise = torch.rand(d.shape, generator=generator, dtype=d.dtype).to(d.device)
        return (noise - 0.5) * mean.abs()
    spread = (torch.where(kept, d - mean, 0.0).square().sum(-1, keepdim=True) / (count - 1).clamp_min(1)).sqrt()
    return mean + spread * torch.randn(d.shape, generator=generator, dtype=d.dtype).to(d.device)

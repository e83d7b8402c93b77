# SPDX-License-Identifier: Apache-2.0
"""Make both factors of a low-rank update combinations of frozen random matrices, and train the coefficients alone.

    W = W0 + (alpha / r) B A,   A = A0 + sum_{i<k} a_i A_i   [r, in],   B = sum_{j<l} b_j B_j   [out, r]

A weight has k + l parameters, whatever its size and rank. Two forms are published. "gpt": the entries of A_i and B_j
are uniform on [-1, 1] divided by sqrt(k) and sqrt(l), A0 is a frozen start as LoRA's, and a = b = 0, so that the model
starts at the base and the first step moves b alone. "vit": uniform on [-1, 1] divided by sqrt(r in) and sqrt(r out), no
A0, a = 1 / k and b = 1 / l; the update then starts small but not at zero (from zero neither would get a gradient).

The random numbers come from the seed in one stream for A_i and B_j each, which all layers share: a layer takes the
leading r in and r out of each row. They are kept in memory, since drawing them again in every step costs more than the
step, but in no checkpoint.

NOLA: Koohpayegani et al. 2024, arXiv 2310.02556. Does not quantize the coefficients.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankwise.adapters.seeded import Seeded
from rankwise.core.adapter import Factored, kaiming_uniform
from rankwise.core.method import Method, register
from rankwise.core.targets import Target
from rankwise.errors import MethodError


@register
@dataclass(frozen=True)
class NOLA(Method):
    """Low-rank update within the span of random matrices, W = W0 + (alpha / r) (sum b_j B_j) (A0 + sum a_i A_i).

    Attributes:
        rank: r, which costs no parameters.
        k: how many random matrices make up A.
        k_left: how many make up B (the paper's l); None means k.
        alpha: scale of the product; the delta is multiplied by alpha / rank.
        dropout: probability of zeroing entries of the adapter's input in training.
        variant: "gpt" (with a frozen A0, starts at the base) or "vit" (without, starts near it).

    Raises:
        MethodError: if rank, k or k_left < 1, alpha <= 0, dropout is outside [0, 1), or a target's own rank is above
            `rank`.
    """

    tiny: ClassVar[Mapping[str, Any]] = MappingProxyType({"k": 6})

    rank: int = 8
    k: int = 512
    k_left: int | None = None
    alpha: float = 8.0
    dropout: float = 0.0
    variant: Literal["gpt", "vit"] = "gpt"

    def validate(self) -> None:
        """Check ranges."""
        self.at_least("rank", 1)
        self.at_least("k", 1)
        if self.k_left is not None:
            self.at_least("k_left", 1)
        self.above("alpha", 0)
        self.probability("dropout")

    def shared(self, targets: list[Target]) -> "RandomMatrices":
        """Draw the random numbers that all targets share."""
        return RandomMatrices(targets, self)

    def adapter(self, target: Target, shared: "RandomMatrices") -> "NOLAAdapter":
        """Build the coefficients of one weight."""
        return NOLAAdapter(target, self, shared)


class RandomMatrices(Seeded):
    """The random numbers of all layers, uniform on [-1, 1], drawn in float32 on the CPU from the seed alone.

    Attributes:
        right: one row for each A_i, [k, r * largest in].
        left: one row for each B_j, [l, r * largest out].
        rank: the largest rank a target may have.
    """

    right: Tensor
    left: Tensor

    def __init__(self, targets: list[Target], method: NOLA) -> None:
        generator = torch.Generator().manual_seed(targets[0].seed)
        into, out = max(target.in_features for target in targets), max(target.out_features for target in targets)
        right = torch.rand(method.k, method.rank * into, generator=generator) * 2 - 1
        left = torch.rand(method.k_left or method.k, method.rank * out, generator=generator) * 2 - 1
        super().__init__(right=right, left=left)
        self.rank = method.rank


class NOLAAdapter(Factored):
    """The coefficients of one weight.

    Attributes:
        a: [*batch, k].
        b: [*batch, l].
        offset: A0 [*batch, r, in], drawn from the seed and the target's name and not saved; None in the form "vit".
    """

    shared: RandomMatrices
    offset: Tensor | None

    def __init__(self, target: Target, method: NOLA, shared: RandomMatrices) -> None:
        super().__init__(target, shared)
        target.require_rank(method.rank)
        if method.rank > shared.rank:
            raise MethodError(
                f"rank {method.rank} of {target.name!r} is above {shared.rank}, for which the shared random matrices "
                f"were drawn; use NOLA(rank={method.rank}, ...) and lower the other targets with ranks=."
            )
        self.rank, self.plain = method.rank, method.variant == "vit"
        self.scaling, self.dropout = method.alpha / method.rank, method.dropout
        k, k_left = len(shared.right), len(shared.left)
        self.a = nn.Parameter(torch.full((*target.batch, k), 1 / k if self.plain else 0.0))
        self.b = nn.Parameter(torch.full((*target.batch, k_left), 1 / k_left if self.plain else 0.0))
        shape = (*target.batch, method.rank, target.in_features)
        offset = None if self.plain else kaiming_uniform(shape, target.in_features, target.generator())
        self.register_buffer("offset", offset, persistent=False)

    def factors(self) -> tuple[Float[Tensor, "*batch out k"], Float[Tensor, "*batch k in"]]:
        """(alpha / r B, A)."""
        out, inputs, batch = self.target.out_features, self.target.in_features, self.target.batch
        right, left = self._combined(self.a, self.shared.right, inputs), self._combined(self.b, self.shared.left, out)
        if self.plain:  # A_i is [in, r] and B_j [r, out] there
            right, left = right.view(*batch, inputs, self.rank).mT, left.view(*batch, self.rank, out).mT
        else:
            right, left = right.view(*batch, self.rank, inputs), left.view(*batch, out, self.rank)
        return self.scaling * left, right if self.offset is None else self.offset + right

    def restored(self) -> None:
        """Check that the seed gave the random matrices that the coefficients were trained with.

        Raises:
            CheckpointError: if it did not.
        """
        self.shared.require_same()

    def _combined(
        self, coefficients: Float[Tensor, "*batch count"], numbers: Float[Tensor, "count length"], size: int
    ) -> Float[Tensor, "*batch entries"]:
        """The combination of the random matrices of a factor with `size` rows or columns, flattened."""
        entries = self.rank * size
        norm = entries if self.plain else len(numbers)
        return (coefficients / norm**0.5) @ numbers[:, :entries].to(coefficients.device)

# SPDX-License-Identifier: Apache-2.0
"""The frozen random bases that all layers of a RandLoRA slice, drawn from the seed and never saved."""

import math
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from rankwise.adapters.seeded import Seeded
from rankwise.core.targets import Target
from rankwise.errors import MethodError

if TYPE_CHECKING:
    from rankwise.adapters.randlora import RandLoRA


class Bases(Seeded):
    """The frozen random factors of all layers, drawn in float32 on the CPU from the seed alone.

    Attributes:
        a: A [r, MN], MN = min(largest in, largest out).
        b: all B_j side by side, [MX, N, r], MX = max(largest in, largest out), N = ceil(MN / r).
    """

    a: Tensor
    b: Tensor

    def __init__(self, targets: list[Target], method: "RandLoRA") -> None:
        largest = max(t.out_features for t in targets), max(t.in_features for t in targets)
        small, large, rank = min(largest), max(largest), method.rank
        generator = torch.Generator().manual_seed(targets[0].seed)
        count, basis = math.ceil(small / rank), method.basis
        a = _draw((rank, small), basis, small, generator)
        if basis == "bfloat16":
            b = torch.stack([_draw((large, rank), basis, small, generator) for _ in range(count)], dim=1)
        else:
            b = _draw((large, count, rank), basis, small, generator)
        super().__init__(a=_normalized(a), b=_normalized(b))


def _draw(shape: tuple[int, ...], basis: str, small: int, generator: torch.Generator) -> Float[Tensor, "..."]:
    if basis == "normal":
        return torch.randn(shape, generator=generator)
    if basis == "bfloat16":
        bound = shape[-1] ** -0.5
        return torch.empty(shape, dtype=torch.bfloat16).uniform_(-bound, bound, generator=generator)
    uniform = torch.rand(shape, generator=generator)
    if basis == "uniform":
        return 2 * uniform - 1
    share = 1 / (2 * (3 if basis == "sparse" else small**0.5))  # of each sign
    return (uniform > 1 - share).float() - (uniform < share).float()


def _normalized(basis: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Divided by its standard deviation."""
    deviation = (basis if basis.dtype == torch.bfloat16 else basis.double()).std(correction=min(1, basis.numel() - 1))
    if deviation == 0:
        raise MethodError(
            f"a basis of {basis.numel()} numbers has no spread to divide by, since all of them are alike; use "
            'basis="uniform" or "normal", a larger rank, or targets with more than one feature on each side.'
        )
    return (basis / deviation).float()

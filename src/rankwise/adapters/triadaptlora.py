# SPDX-License-Identifier: Apache-2.0
"""Put a square core of two triangles between the factors of LoRA, and let weights grow whose core gains strength.

    W = W0 + alpha / (r + 1e-5) B C A,    C = lower + upper,    B [out, r], A [r, in], r the present rank
    F = ||C||_F / n,   score = F now - F at the event before,   n how many pieces the core is made of, r of them

A new component is a row of A, a column of B, a row of `lower` up to the diagonal and a column of `upper` down to it, so
nothing that is there changes its place. Diagonal entries of C are sums of two parameters. In step t those weights grow
that have the largest scores; with R ranks of the budget left and m = (t - init_warmup) / (total_steps - init_warmup)
these are R m ("linear") or R^m ("exponential") weights, rounded down, at least one. No gradient is looked at. The
divisor r makes growth shrink what was learned (by a half from rank 1 to 2); `fixed_scale` divides by `target_rank`.

TriAdaptLoRA: arXiv 2501.08008 (2025). The events, the budget and the masked tensors are those of
`rankwise.core.growth`. Never starts with both B = 0 and C = 0, where all gradients are zero for ever.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankwise.core.growth import START, Growing, GrowingAdapter, growing
from rankwise.core.method import register
from rankwise.core.rows import Multiplier, Rows
from rankwise.core.sharded import whole
from rankwise.core.targets import Target
from rankwise.core.training import Training
from rankwise.linalg.svd import wide


@register
@dataclass(frozen=True)
class TriAdaptLoRA(Growing):
    """Triangular adaptive low-rank adaptation, W = W0 + alpha / r B (lower + upper) A with a growing r.

    The fields that are not named here are those of `rankwise.core.growth.Growing`.

    Attributes:
        total_steps: length of training, in steps of the optimizer; must be given.
        rank_growth_model: how the number of weights that grow at an event follows the training: "linear" or
            "exponential".
        init: what is zero at the start: the columns of B that act then ("paper"; later ones start with noise), or all
            of C ("c_zero"; later components add nothing at first).
        fixed_scale: divide by `target_rank` instead of the present rank; with init="c_zero" growth changes no output.
        blocks: let the components of one event share a square piece of the core, full in both `lower` and `upper`, that
            counts as one in n, instead of one row and column each.
        restart_warmup: give late components a learning rate of their own, with a linear warm-up of `init_warmup` steps
            and a linear decay to 0 at `total_steps`; False gives them the optimizer's.

    Raises:
        MethodError: if a field is out of range, there is nothing to grow, or no event comes before `total_steps`.
    """

    tiny: ClassVar[Mapping[str, Any]] = MappingProxyType({"init_warmup": 1, "incre_interval": 2, "total_steps": 6})

    rank_growth_model: Literal["linear", "exponential"] = "linear"
    init: Literal["paper", "c_zero"] = "paper"
    fixed_scale: bool = False
    blocks: bool = False
    restart_warmup: bool = True

    def adapter(self, target: Target) -> "TriAdaptLoRAAdapter":
        """Build the factors and the core of one weight, at the largest rank it can reach.

        Raises:
            MethodError: if `total_steps` is not given.
        """
        self.required("total_steps", "the number of optimizer steps; more weights grow the further training has come")
        return TriAdaptLoRAAdapter(target, self)

    def begin(self, training: Training) -> None:
        """Remember the strength of the cores at the start."""
        training.schedule["strength"] = _strengths(training)

    def ranking(self, training: Training) -> Float[Tensor, " n"]:
        """What each core gained in strength since the event before."""
        before = training.schedule["strength"]
        training.schedule["strength"] = now = _strengths(training)
        return now - before

    def how_many(self, step: int, left: int) -> int:
        """R m or R^m of the module's docstring; after `total_steps` all that is left."""
        assert self.total_steps is not None
        progress = (step - self.init_warmup) / (self.total_steps - self.init_warmup)
        return max(1, int(left * progress if self.rank_growth_model == "linear" else exp(progress * log(left))))

    def late(self) -> Multiplier | None:
        """The learning rate of components that started late; None for the optimizer's."""
        return super().late() if self.restart_warmup else None


class TriAdaptLoRAAdapter(GrowingAdapter):
    """The components of one weight: `rank` that act, then those that wait.

    Attributes:
        lower: [*batch, most, most], of which the lower triangle is used; row i belongs to component i.
        upper: [*batch, most, most], of which the upper triangle is used; column i belongs to component i.
        piece: the piece of the core that each component belongs to.
    """

    piece: Tensor

    def __init__(self, target: Target, method: TriAdaptLoRA) -> None:
        generator = target.generator()
        super().__init__(target, method, generator)
        self.method = method
        shape = (*self.born_vectors.shape, self.limit)
        deviation = START if method.init == "paper" else 0.0
        self.lower = nn.Parameter(deviation * torch.randn(shape, generator=generator))
        self.upper = nn.Parameter(deviation * torch.randn(shape, generator=generator))
        if method.init == "paper":
            with torch.no_grad():
                self.left[..., : method.rank] = 0.0
        index = torch.arange(self.limit)
        if method.blocks:
            index = torch.where(index < method.rank, 0, 1 + (index - method.rank) // method.increment)
        self.register_buffer("piece", index, persistent=False)

    def factors(self) -> tuple[Float[Tensor, "*batch out k"], Float[Tensor, "*batch k in"]]:
        """(B, alpha / r C A)."""
        core = self.core(self.lower, self.upper)
        scaling = self.method.scaling(self.rank, core.dtype, fixed=self.method.fixed_scale)
        return self.left, (scaling[..., None, None] * core) @ self.right

    def core(
        self, lower: Float[Tensor, "*batch most most"], upper: Float[Tensor, "*batch most most"]
    ) -> Float[Tensor, "*batch most most"]:
        """C on the components that act, 0 elsewhere."""
        acts = self.first(self.rank)
        below = acts[..., None] & acts[..., None, :] & (self.piece[:, None] >= self.piece)
        return torch.where(below, lower, 0.0) + torch.where(below.mT, upper, 0.0)

    def strength(self) -> Float[Tensor, "*batch"]:
        """||C||_F / n, in float32 or wider."""
        core = self.core(whole(self.lower), whole(self.upper))
        pieces = self.piece[self.rank - 1] + 1
        return torch.linalg.vector_norm(core.to(wide(core.dtype)), dim=(-2, -1)) / pieces

    def rows(self) -> list[Rows]:
        """What starts to train in the middle."""
        return [
            *super().rows(),
            Rows(self.lower, self.born_vectors, dim=-2),
            Rows(self.upper, self.born_vectors),
        ]


def _strengths(training: Training) -> Float[Tensor, " n"]:
    strengths = [one.strength() for one in growing(training) if isinstance(one, TriAdaptLoRAAdapter)]
    return torch.cat([one.flatten().cpu() for one in strengths])

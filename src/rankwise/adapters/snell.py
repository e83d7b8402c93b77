# SPDX-License-Identifier: Apache-2.0
"""Fine-tune a few entries of each weight, which two thin sets of points choose and fill in by a distance kernel.

    W = W0 + S^T,   S = sparse(D),   D[i, o] = sum_h c_h ||P[h, i] - Q[h, o]||,   c_h = 0.1, -0.1, 0.1, ...

P [H, in, r / H] and Q [H, out, r / H] are all that is trained and all that the optimizer keeps, as for LoRA of rank r;
but D has full rank, and of its entries only the largest in magnitude are kept (see `rankwise.adapters.kernels` for the
kernels and the three ways to keep). There is no factored form: a linear layer builds S for its product, drops it, and
builds it again, block by block, in the backward pass.

SNELL: Shen et al. 2024, arXiv 2411.01800; code ssfgunner/SNELL. Sparsity is the same in all weights and does not
change; `SNELLA` moves it between weights. Does not drop whole examples of the update (drop path).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise.adapters.kernelized import add_generated, generated
from rankwise.adapters.kernels import Points, Rule
from rankwise.core.adapter import Adapter, kaiming_uniform
from rankwise.core.lowrank import needs_plain_formula
from rankwise.core.method import Method, register
from rankwise.core.targets import Target
from rankwise.errors import MethodError


@register
@dataclass(frozen=True)
class SNELL(Method):
    """Sparse tuning with kernelized low-rank adaptation, W = W0 + sparse(K(P, Q))^T.

    Attributes:
        rank: numbers in P for each input and in Q for each output, over all segments together.
        sparsity: share of the entries of a weight whose update is zero.
        segments: H; the distances of the segments are added with alternating signs.
        coefficient: size of c_h.
        kernel: distances ("piecewise"), distances and their softmax over outputs with three trained numbers ("mixed"),
            or inner products, which make D a plain product of rank r ("linear").
        sparsifier: how the largest entries are kept: times their own magnitude, as the published code does ("code"),
            times what their magnitude is above the threshold, as the paper writes ("paper"), as they are ("hard"); or
            all entries as they are ("none").
        dropout: probability of zeroing entries of the update's input in training.
        subtract_start: whether to subtract the update as it is at the start, so that training begins at exactly the
            base function; the update is then sparse but for what the start leaves behind.

    Raises:
        MethodError: if a field is out of range, or `segments` does not divide `rank`.
    """

    tiny: ClassVar[Mapping[str, Any]] = MappingProxyType({"sparsity": 0.5, "subtract_start": True})

    rank: int = 32
    sparsity: float = 0.9
    segments: int = 2
    coefficient: float = 0.1
    kernel: Literal["piecewise", "mixed", "linear"] = "piecewise"
    sparsifier: Literal["code", "paper", "hard", "none"] = "code"
    dropout: float = 0.0
    subtract_start: bool = False

    def validate(self) -> None:
        """Check ranges."""
        self.at_least("rank", 1)
        self.at_least("segments", 1)
        self.above("coefficient", 0)
        for name in ("sparsity", "dropout"):
            self.probability(name)
        if self.rank % self.segments:
            raise MethodError(
                f"{type(self).__name__}.rank {self.rank} cannot be cut into {self.segments} segments of one size; "
                f"choose a multiple of {self.segments}, or other segments."
            )

    @property
    def rule(self) -> Rule:
        """Kernel and sparsifier."""
        return Rule(self.kernel, self.sparsifier, tuple(self.coefficient * (-1) ** h for h in range(self.segments)))

    def adapter(self, target: Target) -> "SNELLAdapter":
        """Build the points of one weight."""
        return SNELLAdapter(target, self)


class SNELLAdapter(Adapter):
    """The points of one weight.

    Attributes:
        p: P [*batch, H, in, r / H].
        q: Q [*batch, H, out, r / H].
        mix: a, g and b of the mixed kernel, [*batch, 3]; 1, 1 and 0 at the start.
        entries: how many entries each matrix of the weight has.
    """

    p0: Tensor
    q0: Tensor
    mix0: Tensor | None

    def __init__(self, target: Target, method: SNELL) -> None:
        super().__init__(target)
        self.rule, self.dropout, self.subtract_start = method.rule, method.dropout, method.subtract_start
        self.entries = target.out_features * target.in_features
        self.start_order = self.rule.order(self.start_sparsity(method), self.entries)
        generator, size = target.generator(), method.rank // method.segments
        p, q = (
            kaiming_uniform((*target.batch, method.segments, features, size), features * size, generator)
            for features in (target.in_features, target.out_features)
        )
        self.p, self.q = nn.Parameter(p), nn.Parameter(q)
        mixed = torch.tensor([1.0, 1.0, 0.0]).expand(*target.batch, 3).clone() if method.kernel == "mixed" else None
        self.mix = None if mixed is None else nn.Parameter(mixed)
        if method.subtract_start:
            self.register_buffer("p0", p.clone(), persistent=False)
            self.register_buffer("q0", q.clone(), persistent=False)
            self.register_buffer("mix0", None if mixed is None else mixed.clone(), persistent=False)

    @staticmethod
    def start_sparsity(method: Any) -> float:
        """The sparsity that training begins with."""
        return method.sparsity

    @property
    def order(self) -> int | Int[Tensor, "*batch"]:
        """The place of the threshold among the magnitudes of D, from 1."""
        return self.start_order

    def delta(self) -> Float[Tensor, "..."]:
        """S^T in the target's canonical shape."""
        points, start = self._points()
        update = generated(self.rule, points)
        if start is not None:
            update = update - generated(self.rule, start)
        return update.mT.reshape(self.target.shape)

    def forward(self, x: Tensor, base: Tensor) -> Tensor:
        """Base plus x S; a linear layer keeps no S for its backward pass, other layers do."""
        dropout = self.dropout if self.training else 0.0
        if x.is_floating_point():
            x = F.dropout(x, dropout)
            if self.target.channel_dim == -1 and not needs_plain_formula(base, x, self.p):
                return add_generated(base, x, self.rule, *self._points())
        added = self.target.apply(x, self.delta(), base)
        if dropout and not x.is_floating_point():  # an index is one non-zero input, dropped as a whole
            added = added * F.dropout(torch.ones_like(added[..., :1]), dropout)
        return base + added

    def _points(self) -> tuple[Points, Points | None]:
        points = Points(self.p, self.q, self.mix, self.order)
        return points, Points(self.p0, self.q0, self.mix0, self.start_order) if self.subtract_start else None

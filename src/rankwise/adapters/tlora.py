# SPDX-License-Identifier: Apache-2.0
"""Transform the input side of each frozen weight by a tensor-ring matrix, and add a small residual.

    W = W0 T + s Delta,   T[i, j] = trace(P^1[i_1, j_1] ... P^D[i_D, j_D]),   i = (i_1 ... i_D), the first the slowest
    Delta = B A, or the tensor ring Delta[o, i] = trace(U^1[o_1] ... U^D[o_D] V^1[i_1] ... V^D[i_D])
    s = alpha / sqrt(rank), or alpha / rank unless stabilized

P^d has the shape [I_d, I_d, R, R] with in = I_1 ... I_D; at R = 1, T is the Kronecker product of the P^d. So T has full
rank at the price of R^2 sum I_d^2 numbers. At the start every P^d[:, :, a, b] is I / R, which makes T the identity, and
Delta is zero. Trained is C^d = P^d - I / R, so that weight decay pulls towards the base and the start is exact.

A layer runs as base + W0 ((T - I) x) + s Delta x. With E = ones / R, a projector of trace one, and e_1 = C^1 x,

    e_d = e_{d-1} E + (x E + e_{d-1}) C^d,   (T - I) x = trace(e_D)      (products over the bonds; C^d acts on side d)

which takes one small contraction for each core, builds no matrix [in, in], and has no cancellation. A ring Delta runs
as the two factors [out, S^2] and [S^2, in].

Tao et al. 2025, Transformed Low-rank Adaptation via Tensor Decomposition, arXiv 2501.08727. Other methods named TLoRA
or T-LoRA are unrelated. Does not transform the output side, and has no penalty that keeps T near the identity.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise.core.adapter import Adapter
from rankwise.core.lowrank import Product, needs_plain_formula, without_autocast
from rankwise.core.method import Method, register
from rankwise.core.targets import ConvTarget, EmbeddingTarget, Target
from rankwise.errors import MethodError, TargetError
from rankwise.linalg.tensor_ring import balanced, chained, transformed


@register
@dataclass(frozen=True)
class TLoRA(Method):
    """Tensor-ring transform of the input side and a low-rank or tensor-ring residual, W = W0 T + s Delta.

    Attributes:
        rank: rank S of the residual.
        transform_rank: rank R of the transform; 1 is a Kronecker product, 0 no transform.
        residual: "lora" (rank S) or "ring" (a tensor ring with bonds of S, of rank up to S^2).
        alpha: scale of the residual; the transform has none.
        stabilized: divide alpha by sqrt(rank) instead of rank.
        shapes: how sides are factored, as ("4x8x10",) for all sides of length 320; a side that none of them gives gets
            at most three factors, as equal as can be, in rising order.

    Raises:
        MethodError: if rank < 1, transform_rank < 0, alpha <= 0 or a shape cannot be read; on a target, if the
            transform is no smaller than the weight, or the rank too large; if a shape fits no target.
        TargetError: on a convolution or an embedding.
    """

    rank: int = 1
    transform_rank: int = 1
    residual: Literal["lora", "ring"] = "lora"
    alpha: float = 1.0
    stabilized: bool = True
    shapes: tuple[str, ...] = ()

    def validate(self) -> None:
        """Check ranges and that every shape can be read, at most one for a length."""
        self.at_least("rank", 1)
        self.at_least("transform_rank", 0)
        self.above("alpha", 0)
        wrong = [shape for shape in self.shapes if not all(part.isdecimal() and int(part) for part in shape.split("x"))]
        if wrong:
            raise MethodError(f"TLoRA.shapes must be written as '4x8x10', got {wrong[0]!r}.")
        lengths = [math.prod(shape) for shape in self.factored]
        for length in lengths:
            if lengths.count(length) > 1:
                raise MethodError(f"TLoRA.shapes gives two shapes for the length {length}; leave one of them out.")

    @property
    def factored(self) -> list[tuple[int, ...]]:
        """The given shapes as numbers."""
        return [tuple(int(part) for part in shape.split("x")) for shape in self.shapes]

    def shape(self, length: int) -> tuple[int, ...]:
        """How a side of this length is factored."""
        return next((shape for shape in self.factored if math.prod(shape) == length), balanced(length))

    def shared(self, targets: list[Target]) -> None:
        """Refuse shapes that fit no target; nothing is shared."""
        lengths = {side for target in targets for side in (target.in_features, target.out_features)}
        unused = [text for text, one in zip(self.shapes, self.factored, strict=True) if math.prod(one) not in lengths]
        if unused:
            raise MethodError(
                f"the shape {unused[0]!r} has the product {math.prod(int(part) for part in unused[0].split('x'))}, but "
                f"no target has such a side (their sides: {sorted(lengths)}); correct it or leave it out."
            )

    def adapter(self, target: Target) -> "TLoRAAdapter":
        """Build the cores of one weight."""
        return TLoRAAdapter(target, self)


class TLoRAAdapter(Adapter):
    """The cores of one weight.

    Attributes:
        transform_1, transform_2, ...: C^d [*batch, I_d, I_d, R, R], zero at the start.
        left, right: B [*batch, out, S], zero at the start, and A [*batch, S, in]; with a low-rank residual.
        out_1, out_2, ... and in_1, in_2, ...: U^d [*batch, O_d, S, S], the first zero at the start, and V^d
            [*batch, I_d, S, S]; with a ring.
    """

    def __init__(self, target: Target, method: TLoRA) -> None:
        super().__init__(target)
        _require_linear(target)
        self.scaling = method.alpha / (method.rank**0.5 if method.stabilized else method.rank)
        self.shape = method.shape(target.in_features) if method.transform_rank else ()
        _require_small(target, method, self.shape)
        for d, length in enumerate(self.shape, 1):
            start = torch.zeros(*target.batch, length, length, method.transform_rank, method.transform_rank)
            self.register_parameter(f"transform_{d}", nn.Parameter(start))
        self.ring = method.residual == "ring"
        self.orders = {"out": len(method.shape(target.out_features)), "in": len(method.shape(target.in_features))}
        for name, start in (_ring_start if self.ring else _low_rank_start)(target, method).items():
            self.register_parameter(name, nn.Parameter(start))

    def residual(self) -> tuple[Float[Tensor, "*batch out k"], Float[Tensor, "*batch k in"]]:
        """The factors of s Delta."""
        if not self.ring:
            left, right = (cast(Tensor, self._parameters[name]) for name in ("left", "right"))
            return self.scaling * left, right
        outputs, inputs = chained(self._cores("out", self.orders["out"])), chained(self._cores("in", self.orders["in"]))
        return self.scaling * outputs.flatten(-2), inputs.mT.flatten(-2).mT

    def delta(self) -> Float[Tensor, "..."]:
        """W0 (T - I) + s Delta in the target's canonical shape."""
        left, right = self.residual()
        total = left @ right
        cores = self._cores("transform", len(self.shape))
        if cores:
            weight = self.target.matrix(total.dtype)
            rows = weight.reshape(-1, *weight.shape[-2:])
            total = total + transformed(rows, [core.transpose(-4, -3) for core in cores]).reshape(weight.shape)
        return total.reshape(self.target.shape)

    def forward(self, x: Tensor, base: Tensor) -> Tensor:
        """Base plus W0 ((T - I) x) + s Delta x."""
        output = self.target.add_product(base, x, Product(*self.residual()), 0.0, False, False)
        cores = self._cores("transform", len(self.shape))
        if not cores:
            return output
        x = x.to(base.dtype)
        moved = transformed(x.reshape(1, -1, x.shape[-1]), [core.to(base.dtype) for core in cores]).reshape(x.shape)
        if needs_plain_formula(moved, base):
            return output + self.target.apply(moved, self.target.weight(base.dtype), base)
        return output + _Frozen.apply(moved, self.target)

    def _cores(self, name: str, order: int) -> list[Tensor]:
        return [cast(Tensor, self._parameters[f"{name}_{d}"]) for d in range(1, order + 1)]


class _Frozen(torch.autograd.Function):
    """W0 z for every token, keeping nothing: a quantized or cast weight is made dense again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, target: Target) -> Tensor:
        ctx.target = target
        with without_autocast(z):
            return F.linear(z, target.weight(z.dtype))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        with without_autocast(grad):
            return grad @ ctx.target.weight(grad.dtype), None


def _low_rank_start(target: Target, method: TLoRA) -> dict[str, Tensor]:
    """B zero, A normal with variance 1 / (3 in)."""
    target.require_rank(method.rank)
    right = torch.randn((*target.batch, method.rank, target.in_features), generator=target.generator())
    left = torch.zeros(*target.batch, target.out_features, method.rank)
    return {"left": left, "right": right / (3 * target.in_features) ** 0.5}


def _ring_start(target: Target, method: TLoRA) -> dict[str, Tensor]:
    """U^1 zero, the other U^d normal with deviation sqrt(O_d) / S^2, V^d with 1 / sqrt(I_d)."""
    rank, generator = method.rank, target.generator()
    starts = {}
    for d, length in enumerate(method.shape(target.out_features), 1):
        deviation = length**0.5 / rank**2 if d > 1 else 0.0
        starts[f"out_{d}"] = deviation * torch.randn((*target.batch, length, rank, rank), generator=generator)
    for d, length in enumerate(method.shape(target.in_features), 1):
        starts[f"in_{d}"] = torch.randn((*target.batch, length, rank, rank), generator=generator) / length**0.5
    return starts


def _require_linear(target: Target) -> None:
    if isinstance(target, ConvTarget | EmbeddingTarget):
        raise TargetError(
            f"{target.name!r} is a convolution or an embedding, and TLoRA transforms the input features of linear "
            "layers alone; use FLoRA or LoRA there, or leave it out of targets."
        )


def _require_small(target: Target, method: TLoRA, shape: tuple[int, ...]) -> None:
    size = method.transform_rank**2 * sum(side * side for side in shape)
    if size >= target.out_features * target.in_features:
        raise MethodError(
            f"the transform of {target.name!r} with the factors {list(shape)} of its {target.in_features} inputs and "
            f"transform_rank {method.transform_rank} has {size} parameters, no fewer than the weight's "
            f"{target.out_features * target.in_features}; take a smaller transform_rank (0 leaves the transform out) "
            "or a shape of smaller factors, or leave this target out."
        )

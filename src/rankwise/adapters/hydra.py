# SPDX-License-Identifier: Apache-2.0
"""Add two low-rank heads to each frozen layer, one that reads its input and one that reads its output.

    h = W0 x + b0
    y = h + s B_p (A_p x) + s B_s (A_s h)
      = (W0 + s [B_p, B_s] [A_p ; A_s W0]) x + b0 + s B_s A_s b0
    A_p [r_p, in], B_p [out, r_p], A_s [r_s, out], B_s [out, r_s]

The parallel head can write new features, the sequential one recombines those the layer already computes; it costs
2 r_s out numbers whatever the input's size. With branch biases c and e the heads are B_p (A_p x + c_p) + e_p and
B_s (A_s h + c_s) + e_s. The ups start at zero. The output h is read as the layer gives it, its bias included, so no
product with W0 is formed in training; where a weight is read without its layer being called, A_s W0 stands for it.

Kim et al. 2023, arXiv 2309.06922 (not HydraLoRA, which routes between several ups). Does not choose ranks by itself.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise.core.adapter import Factored, kaiming_uniform
from rankwise.core.lowrank import needs_plain_formula, without_autocast
from rankwise.core.method import Method, register
from rankwise.core.targets import Target
from rankwise.errors import MethodError, TargetError


@register
@dataclass(frozen=True)
class Hydra(Method):
    """A parallel and a sequential low-rank head, W = W0 + s B_p A_p + s B_s A_s W0.

    Attributes:
        rank_parallel: rank of the head that reads the layer's input; 0 leaves it out.
        rank_sequential: rank of the head that reads the layer's output; 0 leaves it out, and what remains is LoRA.
        scale: the factor s in front of both heads.
        branch_bias: whether each head has a bias after its down and one after its up projection.
        dropout: probability of zeroing entries between the down and the up projections in training.
        init: start of the down projections: "kaiming" or "xavier" (uniform), or "normal" (standard deviation 0.02).

    Raises:
        MethodError: if a rank is negative, both are 0, scale <= 0 or dropout is outside [0, 1).
    """

    rank_parallel: int = 2
    rank_sequential: int = 2
    scale: float = 1.0
    branch_bias: bool = False
    dropout: float = 0.0
    init: Literal["kaiming", "xavier", "normal"] = "kaiming"

    def validate(self) -> None:
        """Check ranges."""
        self.at_least("rank_parallel", 0)
        self.at_least("rank_sequential", 0)
        self.above("scale", 0)
        self.probability("dropout")
        if self.rank_parallel + self.rank_sequential == 0:
            raise MethodError(
                "Hydra.rank_parallel and Hydra.rank_sequential are both 0, which leaves no head; set at least one of "
                "them to 1 or more."
            )

    def adapter(self, target: Target) -> "HydraAdapter":
        """Build the two heads for one weight."""
        return HydraAdapter(target, self)


class HydraAdapter(Factored):
    """The heads of one weight.

    Attributes:
        left: [*batch, out, r_p + r_s], the up projections side by side, [B_p, B_s].
        parallel: A_p [*batch, r_p, in], None without that head.
        sequential: A_s [*batch, r_s, out], None without that head.
        down_bias: [*batch, r_p + r_s], the biases c, only with `branch_bias`.
        up_bias: [heads, *batch, out], the biases e, only with `branch_bias`.

    Raises:
        MethodError: if a rank is above the weight's smaller side.
        TargetError: if the layer is a grouped convolution and has a sequential head, or cannot hold a branch bias.
    """

    reads_output = True

    def __init__(self, target: Target, method: Hydra) -> None:
        super().__init__(target)
        _require_possible(target, method)
        self.scaling, self.bottleneck_dropout = method.scale, method.dropout
        self.rank_parallel = method.rank_parallel
        rank = method.rank_parallel + method.rank_sequential
        generator = target.generator()
        self.left = nn.Parameter(torch.zeros(*target.batch, target.out_features, rank))
        self.parallel = _start(method, (*target.batch, method.rank_parallel, target.in_features), generator)
        self.sequential = _start(method, (*target.batch, method.rank_sequential, target.out_features), generator)
        heads = [head for head in (self.parallel, self.sequential) if head is not None]
        self.down_bias = nn.Parameter(torch.zeros(*target.batch, rank)) if method.branch_bias else None
        up_bias = torch.zeros(len(heads), *target.batch, target.out_features)
        self.up_bias = nn.Parameter(up_bias) if method.branch_bias else None

    def factors(self) -> tuple[Float[Tensor, "*batch out k"], Float[Tensor, "*batch k in"]]:
        """(s [B_p, B_s], [A_p ; A_s W0])."""
        rows: list[Tensor] = [] if self.parallel is None else [self.parallel]
        if self.sequential is not None:
            rows.append(self.sequential @ self.target.matrix(self.left.dtype))
        return self.scaling * self.left, torch.cat(rows, dim=-2)

    def bias_delta(self) -> Float[Tensor, "*batch out"] | None:
        """The branch biases and s B_s A_s b0; None if the layer has no bias and the heads have none."""
        shift = self._shift()
        if shift is None:
            return None
        moved = (self.left @ shift[..., None])[..., 0]
        return self.scaling * (moved if self.up_bias is None else moved + self.up_bias.sum(0))

    def forward(self, x: Tensor, base: Tensor) -> Tensor:
        """Base plus both heads by one up projection; may overwrite `base` where no gradient is wanted."""
        bottleneck = F.dropout(self._bottleneck(x, base), self.bottleneck_dropout, self.training)
        left = (self.scaling * self.left).to(base.dtype)
        if self.target.channel_dim == -1:
            output = _accumulated(base, bottleneck, left)
        else:
            output = base + self.target.up(bottleneck, left)
        if self.up_bias is None:
            return output
        return output + self.target.by_channel(self.scaling * self.up_bias.sum(0), output)

    def _bottleneck(self, x: Tensor, base: Tensor) -> Tensor:
        """[A_p x + c_p ; A_s h + c_s], with h the output of the base as it was before any merge."""
        target = self.target
        if target.original is None:
            down = [] if self.parallel is None else [target.down(x, self.parallel.to(base.dtype), base)]
            if self.sequential is not None:
                down.append(self._read(x, base, self.sequential.to(base.dtype)))
            bottleneck, shift = torch.cat(down, dim=target.channel_dim), self.down_bias
        else:  # the layer's output holds another adapter's delta now
            bottleneck, shift = target.down(x, self.factors()[1].to(base.dtype), base), self._shift()
        return bottleneck if shift is None else bottleneck + target.by_channel(shift.tile(target.groups), bottleneck)

    def _read(self, x: Tensor, base: Tensor, right: Float[Tensor, "r out"]) -> Tensor:
        """A_s h, where a token whose index is never adapted (padding) reads nothing, as in `target.down`."""
        target = self.target
        read = F.linear(base.movedim(target.channel_dim, -1), right).movedim(-1, target.channel_dim)
        if x.is_floating_point():
            return read
        return read * target.down(x, base.new_ones(()).expand(1, target.in_features), base)

    def _shift(self) -> Float[Tensor, "*batch r"] | None:
        """What the bottleneck holds for a zero input, [c_p ; A_s b0 + c_s]."""
        bias = _bias(self.target)
        if self.sequential is None or bias is None:
            return self.down_bias
        read = (self.sequential @ bias.detach().to(self.left.dtype)[..., None])[..., 0]
        read = F.pad(read, (self.rank_parallel, 0))
        return read if self.down_bias is None else read + self.down_bias


def _accumulated(base: Tensor, bottleneck: Tensor, left: Float[Tensor, "out k"]) -> Tensor:
    """Base + bottleneck left^T in one step; h is kept where autograd needs it for A_s, and overwritten otherwise."""
    flat, tokens = base.reshape(-1, base.shape[-1]), bottleneck.reshape(-1, bottleneck.shape[-1]).to(base.dtype)
    with without_autocast(base):
        if torch.is_grad_enabled() or needs_plain_formula(flat, tokens, left):
            return torch.addmm(flat, tokens, left.t()).view(base.shape)
        return flat.addmm_(tokens, left.t()).view(base.shape)


def _bias(target: Target) -> Tensor | None:
    """The bias that is part of the weight's output; None for one of another shape, such as that of `nn.Bilinear`."""
    bias = target.bias()
    return bias if bias is not None and bias.shape == (*target.batch, target.out_features) else None


def _start(method: Hydra, shape: tuple[int, ...], generator: torch.Generator) -> nn.Parameter | None:
    rank, fan_in = shape[-2:]
    if rank == 0:
        return None
    if method.init == "kaiming":
        return nn.Parameter(kaiming_uniform(shape, fan_in, generator))
    if method.init == "xavier":
        return nn.Parameter((torch.rand(shape, generator=generator) * 2 - 1) * (6 / (fan_in + rank)) ** 0.5)
    return nn.Parameter(0.02 * torch.randn(shape, generator=generator))


def _require_possible(target: Target, method: Hydra) -> None:
    target.require_rank(method.rank_parallel, what="rank_parallel")
    target.require_rank(method.rank_sequential, what="rank_sequential")
    if method.rank_sequential and target.groups > 1:
        raise TargetError(
            f"{target.name!r} is a convolution in {target.groups} groups, and rank_sequential={method.rank_sequential} "
            "would mix output channels of different groups, which no grouped kernel can do; use "
            "Hydra(rank_sequential=0, ...) for it, or leave it out of targets."
        )
    if method.branch_bias and _bias(target) is None and (not target.called or target.bias_attr is None):
        raise TargetError(
            f"branch_bias=True moves the bias of {target.name!r}, but this weight has none, and the move would be "
            "lost; use branch_bias=False, give the layer a zero bias, or leave it out of targets."
        )

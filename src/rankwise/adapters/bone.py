# SPDX-License-Identifier: Apache-2.0
"""Train one small matrix for each layer and repeat it over all blocks of r inputs.

    W = W0 + block^T P,   P = [I_r I_r ... I_r][:, :in],   block [r, out], zero at the start
    delta[o, i] = block[i mod r, o]                        columns m: delta[o, i] = block[i mod r, o mod m]

So it is LoRA with the right factor fixed to a tiled identity. On a linear layer P x is a sum over blocks of the input,

    (P x)_k = sum_j x_(j r + k),

which costs `in` additions, and the backward pass keeps r numbers a token instead of the input. There is no scale and no
random start. The last block of the input may be shorter than r.

Kang and Yin 2024, arXiv 2409.15371, from its version 4 on; later versions call it MiSS. The method of versions 1 to 3,
which reads W0, is `rankwise.adapters.bat`. P never trains, so only r sums of the input can be read: raise the rank.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise.core.adapter import Factored
from rankwise.core.lowrank import needs_plain_formula, without_autocast
from rankwise.core.method import Method, register
from rankwise.core.targets import Target
from rankwise.errors import MethodError
from rankwise.linalg.divisors import divisors


@register
@dataclass(frozen=True)
class Bone(Method):
    """Block-shared update, W = W0 + [block^T block^T ... block^T], also known as MiSS.

    Attributes:
        rank: rows r of the trained matrix, and length of the blocks of inputs that share it.
        columns: columns m of the trained matrix, which is repeated over blocks of m outputs ("mini" in the published
            code); None trains one column for each output.
        dropout: probability of zeroing entries of the adapter's input in training.

    Raises:
        MethodError: if rank < 1, columns < 1 or dropout is outside [0, 1); on a target, if the rank is above its
            inputs or `columns` does not divide its outputs.
    """

    rank: int = 64
    columns: int | None = None
    dropout: float = 0.0

    def validate(self) -> None:
        """Check ranges."""
        self.at_least("rank", 1)
        if self.columns is not None:
            self.at_least("columns", 1)
        self.probability("dropout")

    def adapter(self, target: Target) -> "BoneAdapter":
        """Build the matrix of one weight."""
        return BoneAdapter(target, self)


class BoneAdapter(Factored):
    """The trained matrix of one weight.

    Attributes:
        block: [*batch, r, m], m = out unless the method has `columns`.
    """

    def __init__(self, target: Target, method: Bone) -> None:
        super().__init__(target)
        out, columns = target.out_features, method.columns or target.out_features
        if method.rank > target.in_features:
            raise MethodError(
                f"rank {method.rank} is above the {target.in_features} inputs of {target.name!r}, so some rows would "
                f"never be read; choose a rank of at most {target.in_features}, or set it for this target alone with "
                f"ranks={{{target.name!r}: {target.in_features}}}."
            )
        if out % columns:
            raise MethodError(
                f"columns {columns} does not divide the {out} outputs of {target.name!r}; possible are "
                f"{', '.join(map(str, divisors(out)))}. Choose one of them, or leave the layer out of targets."
            )
        self.rank, self.repeats, self.dropout = method.rank, out // columns, method.dropout
        self.block = nn.Parameter(torch.zeros(*target.batch, method.rank, columns))

    def factors(self) -> tuple[Float[Tensor, "*batch out r"], Float[Tensor, "*batch r in"]]:
        """(block^T, repeated over the outputs; the tiled identity P)."""
        ones = torch.eye(self.rank, dtype=self.block.dtype, device=self.block.device)
        tiled = ones.repeat(1, -(-self.target.in_features // self.rank))[:, : self.target.in_features]
        left = self.block.mT.repeat(*[1] * len(self.target.batch), self.repeats, 1)
        return left, tiled.expand(*self.target.batch, *tiled.shape)

    def add(self, x: Tensor, base: Tensor, scale: float = 1.0, *, inplace: bool = False, own: bool = False) -> Tensor:
        """Base plus scale * the update's output; P x is a sum over blocks, and for an index one row of `block`."""
        dropout = self.dropout if self.training else 0.0
        block = self.block if scale == 1.0 else self.block * scale
        if not x.is_floating_point():
            kept = self.target.down(x, base.new_ones(()).expand(1, self.target.in_features), base, dropout)
            return self._repeated(base, F.embedding(x % self.rank, block.to(base.dtype)) * kept)
        if self.target.channel_dim != -1:
            return super().add(x, base, scale, inplace=inplace, own=own)
        with without_autocast(base):
            sums, block = folded(F.dropout(x.to(base.dtype), dropout), self.rank), block.to(base.dtype)
            if self.repeats > 1:
                return self._repeated(base, sums @ block)
            flat, tokens = base.reshape(-1, base.shape[-1]), sums.reshape(-1, self.rank)
            if torch.is_grad_enabled() or not inplace or needs_plain_formula(flat, tokens, block):
                return torch.addmm(flat, tokens, block).view(base.shape)
            return flat.addmm_(tokens, block).view(base.shape)

    def _repeated(self, base: Tensor, short: Float[Tensor, "*tokens m"]) -> Tensor:
        """Base plus `short` for every block of outputs."""
        return (base.unflatten(-1, (self.repeats, -1)) + short.unsqueeze(-2)).flatten(-2)


def folded(x: Float[Tensor, "*tokens in"], rank: int) -> Float[Tensor, "*tokens r"]:
    """P x: the sum of all blocks of `rank` features, the last of which may be shorter."""
    whole = x.shape[-1] - x.shape[-1] % rank
    sums = x[..., :whole].unflatten(-1, (-1, rank)).sum(-2)
    return sums if whole == x.shape[-1] else sums + F.pad(x[..., whole:], (0, whole + rank - x.shape[-1]))

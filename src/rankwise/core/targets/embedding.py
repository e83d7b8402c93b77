# SPDX-License-Identifier: Apache-2.0
"""Embedding tables, read as y = M e_index with M [dim, num].

So the output features of the canonical matrix are the features of the looked-up vector, as for every other layer,
and the table as torch stores it, [num, dim], is the transpose. The row at `padding_idx` is not adapted: torch never
trains it, so its delta is zero.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise.core.targets.base import Target
from rankwise.errors import TargetError


class EmbeddingTarget(Target):
    """The table of an `nn.Embedding`.

    Raises:
        TargetError: if the layer has max_norm, which rewrites the table in place at every forward.
    """

    bias_attr = None

    def __init__(self, name: str, module: nn.Embedding) -> None:
        if module.max_norm is not None:
            raise TargetError(
                f"{name!r} is an embedding with max_norm={module.max_norm}, which rewrites its own table at every "
                "forward and leaves no fixed base to adapt; set max_norm=None on the layer, or leave it out of targets."
            )
        super().__init__(name, module, "weight", (module.embedding_dim, module.num_embeddings))

    def to_storage(self, canonical: Float[Tensor, "dim num"]) -> Float[Tensor, "num dim"]:
        """[num, dim], with a zero row at padding_idx."""
        stored = canonical.t()
        padding = self.module.padding_idx
        if padding is None:
            return stored
        kept = torch.ones(stored.shape[0], 1, dtype=stored.dtype, device=stored.device)
        kept[padding] = 0
        return stored * kept

    def from_storage(self, stored: Float[Tensor, "num dim"]) -> Float[Tensor, "dim num"]:
        """[dim, num]."""
        return stored.t()

    def apply(self, x: Int[Tensor, "*tokens"], delta: Float[Tensor, "dim num"], like: Tensor) -> Tensor:
        """The columns of delta that the indices name."""
        return self._unpadded(x, F.embedding(x, delta.to(like.dtype).t()))

    def down(
        self, x: Int[Tensor, "*tokens"], right: Float[Tensor, "k num"], like: Tensor, dropout: float = 0.0
    ) -> Float[Tensor, "*tokens k"]:
        """The columns of right that the indices name; dropout drops a token's one non-zero input as a whole."""
        rows = self._unpadded(x, F.embedding(x, right.t()))
        return rows * F.dropout(torch.ones_like(rows[..., :1]), dropout) if dropout else rows

    def up(self, bottleneck: Float[Tensor, "*tokens k"], left: Float[Tensor, "dim k"]) -> Float[Tensor, "*tokens dim"]:
        """Left z for every token."""
        return F.linear(bottleneck, left)

    def rescaled(self, x: Int[Tensor, "*tokens"], output: Tensor, change: Float[Tensor, " dim"]) -> Tensor:
        """The looked-up vectors with rescaled features, those at padding_idx as they are."""
        if self.module.padding_idx is None:
            return super().rescaled(x, output, change)
        return output + self._unpadded(x, self.by_channel(change, output) * output)

    def _unpadded(self, x: Tensor, rows: Tensor) -> Tensor:
        padding = self.module.padding_idx
        return rows if padding is None else rows * (x != padding).unsqueeze(-1).to(rows.dtype)

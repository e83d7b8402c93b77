# SPDX-License-Identifier: Apache-2.0
"""Small models for the contract grid: two layers of one kind side by side.

    y = late(x) + sin(early(x))

Two layers, so that shared state and schedules have something to share and to choose between; the one that comes first
has the name that sorts last, so that nothing can depend on the order of names.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


class Pair(nn.Module):
    """Two layers of one kind.

    Args:
        layer: builds one of them.
        call: runs a layer on an input and gives one tensor.
    """

    def __init__(self, layer: Callable[[], nn.Module], call: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.late, self.early = layer(), layer()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both layers' outputs, one of them bent."""
        return self.call(self.late, x) + torch.sin(self.call(self.early, x))


class RawMatrix(nn.Module):
    """A matrix as a bare parameter, read inside forward."""

    def __init__(self, out_features: int, in_features: int) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.empty(out_features, in_features))

    def forward(self, x: Float[Tensor, "*tokens in"]) -> Float[Tensor, "*tokens out"]:
        """Matrix x."""
        return F.linear(x, self.matrix)


class Experts(nn.Module):
    """A stack of expert matrices, [experts, out, in], each token served by all of them in equal parts."""

    def __init__(self, count: int, out_features: int, in_features: int) -> None:
        super().__init__()
        self.up_proj = nn.Parameter(torch.empty(count, out_features, in_features))

    def forward(self, x: Float[Tensor, "*tokens in"]) -> Float[Tensor, "*tokens out"]:
        """The mean over experts of tanh(W_e x)."""
        return torch.tanh(torch.einsum("eoi,...i->...eo", self.up_proj, x)).mean(-2)


class TiedHead(nn.Module):
    """An embedding and an output head that share one table."""

    def __init__(self, num: int, dim: int) -> None:
        super().__init__()
        self.table = nn.Embedding(num, dim)
        self.scores = nn.Linear(dim, num, bias=False)
        self.scores.weight = self.table.weight

    def forward(self, ids: Int[Tensor, "*tokens"]) -> Float[Tensor, "*tokens num"]:
        """Scores of all entries, from the looked-up vectors."""
        return self.scores(torch.tanh(self.table(ids)))


def plain(layer: nn.Module, x: Tensor) -> Tensor:
    """The output of a layer that gives one tensor."""
    return layer(x)


def recurrent(layer: nn.Module, x: Tensor) -> Tensor:
    """The outputs of all steps of a recurrent layer."""
    return layer(x)[0]


def self_attention(layer: nn.Module, x: Tensor) -> Tensor:
    """Attention of a sequence to itself."""
    return layer(x, x, x, need_weights=False)[0]


def cross_attention(layer: nn.Module, x: Tensor) -> Tensor:
    """Attention with keys and values narrower than the queries."""
    return layer(x, x[..., :6], x[..., :5], need_weights=False)[0]

# SPDX-License-Identifier: Apache-2.0
"""Tensor rings over a factored side: a matrix near the identity applied to rows, and the bonds of every entry.

    T[i, j] = trace(P^1[i_1, j_1] ... P^D[i_D, j_D]),   P^d = I / R + C^d,   i = (i_1 ... i_D), the first the slowest
    e_d = e_{d-1} E + (x E + e_{d-1}) C^d,   (T - I) x = trace(e_D),   E = ones / R, e_1 = C^1 x

Zhao et al. 2016, Tensor Ring Decomposition, arXiv 1606.05535.
"""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from rankwise.linalg.divisors import divisors


def transformed(x: Float[Tensor, "b n in"], cores: Sequence[Tensor]) -> Float[Tensor, "b n in"]:
    """(T - I) x for every row, T given by its cores' changes C^d; each matrix of a stack has its own cores."""
    batch, rows, _ = x.shape
    rank, done = cores[0].shape[-1], rows
    change = None
    for core in (one.reshape(batch, *one.shape[-4:]) for one in cores):
        sides = x.reshape(batch, done, core.shape[-3], -1)
        if change is None:
            change = torch.einsum("znjr,zijac->znirac", sides, core)
        else:
            change = change.reshape(*sides.shape, rank, rank)
            present = change + sides[..., None, None] / rank
            change = change.mean(-1, keepdim=True) + torch.einsum("znjrab,zijbc->znirac", present, core)
        done *= core.shape[-3]
    return cast(Tensor, change).diagonal(dim1=-2, dim2=-1).sum(-1).reshape(x.shape)


def chained(cores: Sequence[Tensor]) -> Float[Tensor, "*batch length k k"]:
    """The product of the cores' bond matrices for every entry of the side, the first sub-index the slowest."""
    product = cores[0]
    for core in cores[1:]:
        product = (product.unsqueeze(-3) @ core.unsqueeze(-4)).flatten(-4, -3)
    return product


def balanced(length: int) -> tuple[int, ...]:
    """At most three factors of a length with the smallest sum of squares, in rising order; a prime is one factor."""
    found = []
    for first in divisors(length):
        rest = length // first
        found += [(first, second, rest // second) for second in divisors(rest) if first <= second <= rest // second]
    best = min(found, key=lambda shape: sum(side * side for side in shape))
    return tuple(side for side in best if side > 1) or (1,)

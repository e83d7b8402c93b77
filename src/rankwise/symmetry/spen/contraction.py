# SPDX-License-Identifier: Apache-2.0
r"""Contractions and embeddings of order 2 for all ego networks of a batch at once.

What `contracted` and `embedded` do to one tensor [N, m, m, d] after another is done here to one flat list of the
entries (v, i, j) of all networks, whatever their sizes:

    scalars[v]   = (mean of X_v[i, j],  mean of X_v[i, i])
    vectors[v,i] = (mean over j of X_v[i, j],  mean over j of X_v[j, i],  X_v[i, i])
    entries      =  X_v[i, j], and X_v[j, i] if there are two copies;        X_v[i, j] = T[place of (v, i, j)]

This is a linear map of T, and its adjoint puts scalars, vectors and entries back on T: with sums in place of means that
is the embedding, added up over the networks. So there are two functions, each the derivative of the other.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rankwise.errors import SymmetryError
from rankwise.symmetry.spen import compiled, indexed
from rankwise.symmetry.spen.entries import Entries, Parts


def contract(table: Float[Tensor, "rows d"], entries: Entries, copies: int = 1) -> Parts:
    """The contractions of all networks, as means.

    Returns:
        [networks, 2 d], [nodes, 3 d] and [entries, copies * d], in the order of `contractions`.

    Raises:
        SymmetryError: if the table does not have one row for each thing that an entry may stand for.
    """
    if len(table) != entries.rows:
        raise SymmetryError(f"There are {len(table)} rows of pairs; the ego networks were made from {entries.rows}.")
    return _Contract.apply(table, entries, copies, True)  # type: ignore[return-value]


def embed(
    scalars: Float[Tensor, "networks 2*d"],
    vectors: Float[Tensor, "nodes 3*d"],
    values: Float[Tensor, "entries copies*d"],
    entries: Entries,
) -> Float[Tensor, "rows d"]:
    """The embeddings of all networks, in the order of `embeddings`, summed by what the entries stand for."""
    return _Embed.apply(scalars, vectors, values, entries, False)  # type: ignore[return-value]


class _Contract(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, entries: Entries, copies: int, means: bool) -> Parts:
        ctx.entries, ctx.means = entries, means
        route = compiled.contract if _compiled(table) else indexed.contract
        return route(table.detach(), entries, copies, means)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return _Embed.apply(*grads, ctx.entries, ctx.means), None, None, None  # type: ignore[return-value]


class _Embed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scalars: Tensor, vectors: Tensor, values: Tensor, entries: Entries, means: bool) -> Tensor:
        ctx.entries, ctx.means, ctx.copies = entries, means, 2 * values.shape[1] // scalars.shape[1]
        route = compiled.embed if _compiled(scalars) else indexed.embed
        return route((scalars.detach(), vectors.detach(), values.detach()), entries, means)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        return *_Contract.apply(grads[0], ctx.entries, ctx.copies, ctx.means), None, None  # type: ignore[return-value]


def _compiled(values: Tensor) -> bool:
    return values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64)

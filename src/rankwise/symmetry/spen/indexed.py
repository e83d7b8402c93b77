# SPDX-License-Identifier: Apache-2.0
"""Contraction and embedding of all ego networks as gathers and sums by index, for any device and dtype."""

import torch
from torch import Tensor

from rankwise.symmetry.spen.entries import Entries, Parts
from rankwise.symmetry.spen.scattering import summed


def contract(table: Tensor, entries: Entries, copies: int, means: bool) -> Parts:
    """The contractions of all networks: see `contraction.contract`."""
    rows, columns, diagonal, turned = entries.axes
    values, networks, nodes = table[entries.places], len(entries.sizes), len(entries.networks)
    on_diagonal, by_row, by_column = values[diagonal], summed(values, rows, nodes), summed(values, columns, nodes)
    total, trace = summed(by_row, entries.networks, networks), summed(on_diagonal, entries.networks, networks)
    scalars, vectors = torch.cat([total, trace], dim=1), torch.cat([by_row, by_column, on_diagonal], dim=1)
    if means:
        scalars, vectors = _as_means(scalars, vectors, entries)
    return scalars, vectors, torch.cat([values[:, :0], *(values, values[turned])[:copies]], dim=1)


def embed(parts: Parts, entries: Entries, means: bool) -> Tensor:
    """The adjoint of `contract`."""
    rows, columns, diagonal, turned = entries.axes
    scalars, vectors = _as_means(*parts[:2], entries) if means else parts[:2]
    d = scalars.shape[1] // 2
    total, trace = scalars[entries.networks].split(d, dim=1)
    by_row, by_column, on_diagonal = vectors.split(d, dim=1)
    values = (by_row + total)[rows] + by_column[columns]
    values[diagonal] += on_diagonal + trace
    for number, copied in enumerate(parts[2].split(d, dim=1) if parts[2].shape[1] else ()):
        values += copied[turned] if number else copied
    return summed(values, entries.places, entries.rows)


def _as_means(scalars: Tensor, vectors: Tensor, entries: Entries) -> tuple[Tensor, Tensor]:
    """Every sum over an index divided by m."""
    m, d = entries.sizes[:, None], scalars.shape[1] // 2
    total, trace = scalars.split(d, dim=1)
    sums, on_diagonal = vectors.split((2 * d, d), dim=1)
    return torch.cat([total / m / m, trace / m], dim=1), torch.cat([sums / m[entries.networks], on_diagonal], dim=1)

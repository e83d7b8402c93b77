# SPDX-License-Identifier: Apache-2.0
"""Contraction and embedding of all ego networks on the processor."""

from numpy.typing import NDArray
from torch import Tensor, nn

from rankwise.symmetry.spen import kernel
from rankwise.symmetry.spen.entries import Entries, Parts
from rankwise.symmetry.vectors import VECTOR


def contract(table: Tensor, entries: Entries, copies: int, means: bool) -> Parts:
    """The contractions of all networks: see `contraction.contract`."""
    d, table = table.shape[1], _widened(table, 1)
    rows = ((len(entries.sizes), 2), (len(entries.networks), 3), (len(entries.places), copies))
    parts = [table.new_empty(count, blocks * table.shape[1]) for count, blocks in rows]
    kernel.contract(table.numpy(), _lists(entries), means, tuple(part.numpy() for part in parts))
    scalars, vectors, values = (_narrowed(part, blocks, d) for part, (_, blocks) in zip(parts, rows, strict=True))
    return scalars, vectors, values


def embed(parts: Parts, entries: Entries, means: bool) -> Tensor:
    """The adjoint of `contract`."""
    d = parts[0].shape[1] // 2
    wide = [_widened(part, part.shape[1] // d) for part in parts]
    table = wide[0].new_empty(entries.rows, wide[0].shape[1] // 2)
    kernel.embed(table.numpy(), _lists(entries), means, tuple(part.numpy() for part in wide))
    return _narrowed(table, 1, d)


def _lists(entries: Entries) -> tuple[NDArray, NDArray]:
    return entries.places.numpy(), entries.sizes.numpy()


def _widened(values: Tensor, blocks: int) -> Tensor:
    """Zeros behind the channels of each block, up to whole vectors."""
    if not blocks:
        return values
    channels = values.shape[1] // blocks
    missing = -channels % (VECTOR // values.element_size())
    if not missing:
        return values.contiguous()
    return nn.functional.pad(values.view(len(values), blocks, channels), (0, missing)).flatten(1)


def _narrowed(values: Tensor, blocks: int, channels: int) -> Tensor:
    """The blocks without what `_widened` put behind them."""
    if values.shape[1] == blocks * channels:
        return values
    return values.view(len(values), blocks, -1)[..., :channels].flatten(1).contiguous()

# SPDX-License-Identifier: Apache-2.0
"""The two halves of an equivariant map on dense tensors: contraction and embedding.

A tensor of order k has the shape [..., n, .., n, channels] with k axes n. A sum over an index is a mean here, 1/n times
the sum: then one set of weights has the same meaning for every n. Diagonals are views, and what is repeated along an
axis is broadcast, so nothing larger than the input or the output is ever made.
"""

import torch
from torch import Tensor

from rankwise.symmetry.spen.partitions import Marked, Partition, contractions, embeddings, set_partitions


def contracted(x: Tensor, order: int, kept: int) -> Tensor:
    """All contractions of a tensor that keep a number of blocks, side by side in the channels.

    Args:
        x: [..., n, .., n, d] with `order` axes n.
        order: number of indices.
        kept: number t of blocks that stay.

    Returns:
        [..., n, .., n, c * d] with t axes n, for the c contractions in the order of `contractions`.
    """
    parts = [_contraction(x, order, marked) for marked in contractions(order, kept)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


def embedded(parts: list[Tensor], order: int, size: int) -> Tensor:
    """The sum of all embeddings.

    Args:
        parts: for t = 0, 1, ... the tensor [..., n, .., n, e * d] with t axes n, for the e embeddings in the order of
            `embeddings`.
        order: number of indices of the result.
        size: n.

    Returns:
        [..., n, .., n, d] with `order` axes n.
    """
    channels = parts[0].shape[-1] // len(embeddings(order, 0))
    shape = (*parts[0].shape[:-1], *(size,) * order, channels)
    pieces = [part.split(channels, dim=-1) for part in parts]
    finest, *coarser = set_partitions(order)
    total = _on_blocks(pieces, order, finest)
    if len(parts) == 1 or total.shape != shape:
        total = total.expand(shape).clone()  # what follows is written into it
    for partition in coarser:
        diagonal(total, order, partition).add_(_on_blocks(pieces, order, partition))
    return total


def diagonal(x: Tensor, order: int, partition: Partition) -> Tensor:
    """The entries whose indices agree inside each block: a view with one axis for a block."""
    lead = x.ndim - order - 1
    labels = [next(place for place, block in enumerate(partition) if axis in block) for axis in range(order)]
    for first in range(len(partition)):
        while labels.count(labels[first]) > 1:
            again = labels.index(labels[first], first + 1)
            x = x.diagonal(dim1=lead + first, dim2=lead + again).movedim(-1, lead + first)
            labels.pop(again)
    return x


def _contraction(x: Tensor, order: int, marked: Marked) -> Tensor:
    blocks = diagonal(x, order, marked.partition)
    if not marked.lost:
        return blocks
    lead = x.ndim - order - 1
    return blocks.mean(dim=[lead + place for place in marked.lost])


def _on_blocks(pieces: list[tuple[Tensor, ...]], order: int, partition: Partition) -> Tensor:
    """Everything that is added to one diagonal, with one axis for a block; broadcast axes have length 1 or n."""
    placed = [
        _placed(piece, marked)
        for kept, found in enumerate(pieces)
        for marked, piece in zip(embeddings(order, kept), found, strict=True)
        if marked.partition == partition
    ]
    total = placed[0]
    for piece in placed[1:]:
        total = total + piece
    return total


def _placed(piece: Tensor, marked: Marked) -> Tensor:
    """The kept axes in the order of their blocks, and an axis of length 1 for every lost block."""
    kept = len(marked.kept)
    lead = piece.ndim - kept - 1
    axes = sorted(range(kept), key=marked.kept.__getitem__)
    if axes != list(range(kept)):
        piece = piece.permute(*range(lead), *(lead + axis for axis in axes), piece.ndim - 1)
    for place in marked.lost:
        piece = piece.unsqueeze(lead + place)
    return piece

# SPDX-License-Identifier: Apache-2.0
"""The k-hop ego networks of a graph, as flat lists of indices.

The ego network of a node v is the set of nodes within k edges of v, v included; edges are walked both ways. Networks
overlap, and what several of them say about one node or one ordered pair of nodes is averaged; so the lists name, for
every place in every network, the node or the stored pair it stands for. A pair is stored if some network holds it: the
number of stored pairs, and never n^2, is what a graph costs. All steps are sorts and gathers on whole lists.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class Egos:
    """All ego networks of a graph of n nodes, in the order of their nodes v.

    Attributes:
        sizes: m_v, the number of nodes of each.
        nodes: the nodes of each, ascending; one list after another.
        pair_nodes: the two nodes of every stored pair, in lexicographic order.
        pairs: for each network the stored pairs of its m_v^2 entries, row by row; one list after another.
    """

    sizes: Int[Tensor, " n"]
    nodes: Int[Tensor, " places"]
    pair_nodes: Int[Tensor, "2 pairs"]
    pairs: Int[Tensor, " entries"]

    def positions(self, rows: Tensor, columns: Tensor) -> Tensor:
        """The numbers of stored pairs."""
        first, second = self.pair_nodes
        n = len(self.sizes)
        return torch.searchsorted(first * n + second, rows * n + columns)


def reached(edge_index: Int[Tensor, "2 edges"], n: int, hops: int) -> tuple[Tensor, Tensor]:
    """The nodes within `hops` edges of each node.

    Returns:
        the nodes of each ego network, one ascending list after another, and the networks' sizes.
    """
    every = torch.arange(n, device=edge_index.device)
    sources, targets = edge_index
    both = torch.cat([sources * n + targets, targets * n + sources, every * n + every]).unique()
    sources, targets = both // n, both % n
    degrees = sources.bincount(minlength=n)
    starts = degrees.cumsum(0) - degrees
    owners = nodes = every
    for _ in range(hops):
        lengths = degrees[nodes]
        near = targets[starts[nodes].repeat_interleave(lengths) + ramp(lengths)]
        keys = (owners.repeat_interleave(lengths) * n + near).unique()
        owners, nodes = keys // n, keys % n
    return nodes, owners.bincount(minlength=n)


def with_pairs(nodes: Int[Tensor, " places"], sizes: Int[Tensor, " n"]) -> Egos:
    """Complete the lists that `reached` gives by the stored pairs."""
    n = len(sizes)
    squares = sizes**2
    starts, widths = ((sizes.cumsum(0) - sizes).repeat_interleave(squares), sizes.repeat_interleave(squares))
    place = ramp(squares)
    keys = nodes[starts + place // widths] * n + nodes[starts + place % widths]
    stored, pairs = torch.unique(keys, return_inverse=True)
    return Egos(sizes, nodes, torch.stack([stored // n, stored % n]), pairs)


def ramp(lengths: Int[Tensor, " lists"]) -> Int[Tensor, " places"]:
    """0, 1, .., length - 1 for each of the lengths, one after another."""
    ends = lengths.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    return torch.arange(total, device=lengths.device) - (ends - lengths).repeat_interleave(lengths)

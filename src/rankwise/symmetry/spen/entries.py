# SPDX-License-Identifier: Apache-2.0
"""The entries of the ego networks of a batch as one flat list, whatever the networks' sizes."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor

Parts = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Entries:
    """The entries of the ego networks, network by network, row by row.

    Attributes:
        sizes: m of each network.
        places: what each entry stands for.
        rows: how many things there are that an entry may stand for.
    """

    sizes: Int[Tensor, " networks"]
    places: Int[Tensor, " entries"]
    rows: int

    @cached_property
    def networks(self) -> Int[Tensor, " nodes"]:
        """The network of each node of each network."""
        return torch.arange(len(self.sizes), device=self.sizes.device).repeat_interleave(self.sizes)

    @cached_property
    def axes(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The node of each entry's row and of its column, the entries on diagonals, and the transposed entries."""
        sizes, networks = self.sizes[self.networks], self.networks
        ends = sizes.cumsum(0)
        every = torch.arange(len(self.places), device=sizes.device)
        rows = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)
        starts = (self.sizes.cumsum(0) - self.sizes)[networks]  # the first node of a node's network
        columns = every - (ends - sizes)[rows] + starts[rows]
        turned = (ends - sizes)[columns] + rows - starts[rows]
        diagonal = ends - sizes + torch.arange(len(sizes), device=sizes.device) - starts
        return rows, columns, diagonal, turned

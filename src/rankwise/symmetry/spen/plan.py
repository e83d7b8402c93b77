# SPDX-License-Identifier: Apache-2.0
"""From the features of a graph to its ego networks and back.

Ego networks of equal size m are one dense tensor [N, m, .., m, d] each; sorted by size, all of them lie in one flat
list, so that taking them out of the graph is one gather and putting them back is one scatter:

    extract:  X_v = T restricted to the nodes of v's network
    insert:   T[i, j] = mean of Y_v[i, j] over the networks that hold i and j, T[i] likewise, T_0[v] = Y_v.

insert(extract(T)) = T. Sizes are never mixed and nothing is padded. A feature of order 2 lives on stored pairs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rankwise.symmetry.spen.egos import ramp
from rankwise.symmetry.spen.graphs import EgoData
from rankwise.symmetry.spen.scattering import summed


@dataclass(frozen=True)
class Plan:
    """Where the entries of the ego networks of a batch lie.

    Attributes:
        groups: for each size m that occurs, ascending, the number N of ego networks that have it.
        places: for the orders 0, 1, 2 the network, node or stored pair of each entry, sorted by the network's size.
        counts: for the orders 0, 1, 2 the number of networks that hold each network, node or pair, [rows, 1].
    """

    groups: tuple[tuple[int, int], ...]
    places: dict[int, Tensor]
    counts: dict[int, Tensor]

    @classmethod
    def of(cls, data: EgoData) -> "Plan":
        """Sort the ego networks of a graph or batch by size."""
        sizes = data.ego_sizes
        order = sizes.argsort(stable=True)
        places = {
            0: order,
            1: data.ego_nodes[_lists(sizes, order)],
            2: data.ego_pairs[_lists(sizes**2, order)],
        }
        rows = {0: len(sizes), 1: len(sizes), 2: data.pair_nodes.shape[1]}
        counts = {k: places[k].bincount(minlength=rows[k])[:, None] for k in places}
        found, number = sizes.unique(return_counts=True)
        return cls(tuple(zip(found.tolist(), number.tolist(), strict=True)), places, counts)

    def extract(self, features: dict[int, Tensor]) -> Iterator[tuple[int, dict[int, Tensor]]]:
        """For each size m the dense tensors [N, m, .., m, d] of the ego networks of that size."""
        flat = {order: values.index_select(0, self.places[order]) for order, values in features.items()}
        pieces = {order: values.split([n * m**order for m, n in self.groups]) for order, values in flat.items()}
        for group, (m, n) in enumerate(self.groups):
            yield m, {order: found[group].view(n, *(m,) * order, -1) for order, found in pieces.items()}

    def insert(self, order: int, pieces: list[Tensor]) -> Tensor:
        """The mean over the ego networks, from the dense tensors of all sizes in the order of `groups`."""
        flat = torch.cat([piece.flatten(0, -2) for piece in pieces])
        places, counts = self.places[order], self.counts[order]
        return summed(flat, places, len(counts)) / counts


def _lists(lengths: Tensor, order: Tensor) -> Tensor:
    """Positions of the entries of lists that lie one after another, the lists taken in another order."""
    starts = lengths.cumsum(0) - lengths
    return starts[order].repeat_interleave(lengths[order]) + ramp(lengths[order])

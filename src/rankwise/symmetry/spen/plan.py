# SPDX-License-Identifier: Apache-2.0
"""From the features of a graph to its ego networks and back.

The ego networks of a batch, sorted by size, lie in one flat list: their entries (v, i, j), their nodes (v, i), and the
networks v themselves. Taking them out of the graph is a gather, putting them back a scatter:

    X_v = T restricted to the nodes of v's network
    T[i, j] = mean of Y_v[i, j] over the networks that hold i and j, T[i] likewise, T_0[v] = Y_v.

The second undoes the first. Nothing is padded. A feature of order 2 lives on stored pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from rankwise.errors import SymmetryError
from rankwise.symmetry.spen.bins import bin_of
from rankwise.symmetry.spen.contraction import contract, embed
from rankwise.symmetry.spen.egos import ramp
from rankwise.symmetry.spen.entries import Entries
from rankwise.symmetry.spen.graphs import EgoData
from rankwise.symmetry.spen.scattering import summed


@dataclass(frozen=True)
class Plan:
    """Where the entries of the ego networks of a batch lie.

    Attributes:
        groups: for each size m that occurs, ascending, the number N of ego networks that have it.
        places: for the orders 0, 1, 2 the network, node or stored pair of each entry, sorted by the network's size.
        counts: for the orders 0, 1, 2 the number of networks that hold each network, node or pair, [rows, 1].
        entries: the entries of order 2, as what they are summed by.
    """

    groups: tuple[tuple[int, int], ...]
    places: dict[int, Tensor]
    counts: dict[int, Tensor]
    entries: Entries

    @classmethod
    def of(cls, data: EgoData) -> "Plan":
        """Sort the ego networks of a graph or batch by size.

        Raises:
            SymmetryError: if they name nodes or stored pairs that do not exist.
        """
        sizes = data.ego_sizes
        order = sizes.argsort(stable=True)
        places = {
            0: order,
            1: data.ego_nodes[_lists(sizes, order)],
            2: data.ego_pairs[_lists(sizes**2, order)],
        }
        rows = {0: len(sizes), 1: len(sizes), 2: data.pair_nodes.shape[1]}
        counts = {k: places[k].bincount(minlength=rows[k])[:, None] for k in places}
        for k, count in counts.items():
            if len(count) > rows[k]:
                raise SymmetryError(
                    f"The ego networks name the {('', 'node', 'stored pair')[k]} {len(count) - 1} of {rows[k]}; make "
                    "them by EgoNetworks and leave the lists as they are."
                )
        found, number = sizes.unique(return_counts=True)
        groups = tuple(zip(found.tolist(), number.tolist(), strict=True))
        return cls(groups, places, counts, Entries(sizes[order], places[2], rows[2]))

    def runs(self, bounds: Sequence[float]) -> tuple[list[int], list[list[int]]]:
        """The bins that occur; and for the orders 0, 1, 2 how many networks, nodes and entries each of them has."""
        found: dict[int, list[int]] = {}
        for m, n in self.groups:
            run = found.setdefault(bin_of(bounds, m), [0, 0, 0])
            for order in range(3):
                run[order] += n * m**order
        return list(found), [list(column) for column in zip(*found.values(), strict=True)]

    def contracted(self, values: Tensor, order: int, most: int) -> list[Tensor]:
        """The contractions of all ego networks that keep t = 0, .., `most` blocks, of features of order 1 or 2."""
        if order == 2:
            return list(contract(values, self.entries, copies=max(0, most - 1)))
        nodes, sizes = values.index_select(0, self.places[1]), self.entries.sizes
        return [summed(nodes, self.entries.networks, len(sizes)) / sizes[:, None], nodes]

    def embedded(self, parts: list[Tensor], order: int) -> Tensor:
        """The embeddings of the parts with t = 0, 1, .. axes, summed over the ego networks."""
        if order == 2:
            scalars, vectors, *entries = parts
            none = scalars.new_empty(len(self.places[2]), 0)
            return embed(scalars, vectors, entries[0] if entries else none, self.entries)
        total = parts[0]
        if order == 1:
            total = total.index_select(0, self.entries.networks) + parts[1]
        return summed(total, self.places[order], len(self.counts[order]))


def _lists(lengths: Tensor, order: Tensor) -> Tensor:
    """Positions of the entries of lists that lie one after another, the lists taken in another order."""
    starts = lengths.cumsum(0) - lengths
    return starts[order].repeat_interleave(lengths[order]) + ramp(lengths[order])

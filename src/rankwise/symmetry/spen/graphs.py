# SPDX-License-Identifier: Apache-2.0
"""Graphs that carry their ego networks, so that they are computed once and batched by torch-geometric's own loader.

`EgoNetworks(hops)` is a transform for torch-geometric's data sets. The lists of indices it adds are what `Egos` says;
torch-geometric joins graphs into one disjoint union by adding offsets, and `EgoData` tells it which. Nothing is padded.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from rankwise.errors import CapacityError, SymmetryError
from rankwise.symmetry.spen.checks import check_graph, place_of
from rankwise.symmetry.spen.egos import reached, with_pairs

MOST_ENTRIES = 10**9  # 8 GB for their index list, before any feature


class EgoData(Data):
    """A graph with its ego networks.

    Attributes:
        ego_sizes: m_v for each node v.
        ego_nodes: the nodes of each ego network.
        ego_pairs: the stored pairs of each ego network's entries.
        pair_nodes: the two nodes of every stored pair.
        edge_pairs: the stored pair of each edge.
        node_pairs: the stored pair (v, v) of each node.
        ego_hops: k.
    """

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        """What a graph adds to the numbers of the graphs after it in a batch."""
        if key in ("ego_pairs", "edge_pairs", "node_pairs"):
            return self.pair_nodes.shape[1]
        if key in ("ego_nodes", "pair_nodes"):
            return self.num_nodes
        return super().__inc__(key, value, *args, **kwargs)

    def __cat_dim__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        """The dimension along which graphs are joined."""
        return 1 if key == "pair_nodes" else super().__cat_dim__(key, value, *args, **kwargs)


class EgoNetworks(BaseTransform):
    """Adds the k-hop ego networks to a graph or to a batch of graphs.

    Args:
        hops: k, from 1; edges are walked both ways.
        largest: nodes that an ego network may have. A network of m nodes costs m^2 entries in every layer.

    Raises:
        SymmetryError: if hops is below 1.
    """

    def __init__(self, hops: int, largest: float = math.inf) -> None:
        if hops < 1:
            raise SymmetryError(f"hops={hops}; an ego network needs at least 1 hop, else it holds no edge.")
        self.hops, self.largest = hops, largest

    def forward(self, data: Data) -> EgoData:
        """The graph with its ego networks; tensors are shared, the object is new.

        Raises:
            SymmetryError: if the graph is none (nodes that do not exist, edges that stand twice, NaN features, ...).
            CapacityError: if an ego network is larger than `largest`.
        """
        check_graph(data)
        n = int(data.num_nodes or 0)
        edge_index: Tensor = data.edge_index  # type: ignore[assignment]
        nodes, sizes = reached(edge_index, n, self.hops)
        check_sizes(data, sizes, self.largest, self.hops)
        egos = with_pairs(nodes, sizes)
        every = torch.arange(n, device=sizes.device)
        found = EgoData(**data.to_dict())
        found.ego_sizes, found.ego_nodes, found.ego_pairs = sizes, nodes, egos.pairs
        found.pair_nodes = egos.pair_nodes
        found.edge_pairs, found.node_pairs = egos.positions(*edge_index), egos.positions(every, every)
        found.ego_hops = self.hops
        return found


def check_sizes(data: Data, sizes: Tensor, largest: float, hops: int) -> None:
    """Refuse ego networks above a size, or with too many entries in all.

    Raises:
        CapacityError: naming the node with the largest one.
    """
    node = int(sizes.argmax())
    size = int(sizes[node])
    entries = int((sizes**2).sum())
    if entries > MOST_ENTRIES:
        raise CapacityError(
            f"The ego networks have {entries:,} entries (the sum of their squared sizes), the one of "
            f"{place_of(data, node)} alone {size**2:,}; at most {MOST_ENTRIES:,} are allowed. Use fewer hops, thin out "
            "the edges of large hubs, or make smaller batches."
        )
    if size > largest:
        raise CapacityError(
            f"The ego network of {place_of(data, node)} has {size} nodes within {hops} hop{'s' * (hops > 1)}; the bins "
            f"end at {largest}. End the bins at {size} or more (math.inf takes any size, at {size}^2 entries for this "
            "network), use fewer hops, or thin out the edges of large hubs."
        )

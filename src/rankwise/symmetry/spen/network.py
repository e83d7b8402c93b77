# SPDX-License-Identifier: Apache-2.0
"""SPEN: a graph's class from equivariant maps on its ego networks.

    T2 = adjacency and edge features off the diagonal, node features on it      [stored pairs, 1 + edge + node]
    each layer:   extract ego networks, equivariant maps of their bin, insert the mean, ELU, GraphNorm
    last layer:   every ego network to order 0, ELU, mean over the networks of a graph, linear layers

The output does not depend on the order of nodes, edges or graphs in a batch. With k hops the networks see what a
k-hop neighborhood shows: two graphs with the same neighborhoods (two pentagons and a decagon, k = 1) get the same
output. With k from the diameter on, a connected graph's networks are all the whole graph, and SPEN is the global
second-order network with the same weights.
Reference: Mitton, Murray-Smith, Subgraph permutation equivariant networks, https://arxiv.org/abs/2111.11840.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from rankwise.errors import SymmetryError
from rankwise.symmetry.spen.bins import checked_bins
from rankwise.symmetry.spen.design import Design
from rankwise.symmetry.spen.graphs import EgoData, EgoNetworks, check_sizes
from rankwise.symmetry.spen.layer import SPENLayer
from rankwise.symmetry.spen.linear import EquivariantLinear
from rankwise.symmetry.spen.norm import SortedGraphNorm
from rankwise.symmetry.spen.plan import Plan

# A graph whose nodes all look alike has features without variance, and what is left of them after the mean is rounding,
# which each normalization divides by the root of this number. With the usual 1e-5 four layers can multiply it by 1e10.
EPSILON = 0.1


class SPEN(nn.Module):
    """A subgraph permutation equivariant network for graph classification.

    Args:
        node_features: columns of data.x; 0 if there is no x.
        edge_features: columns of data.edge_attr; 0 if there is no edge_attr.
        classes: outputs of a graph.
        design: hops, widths, bins.
        seed: of the weights.

    Raises:
        SymmetryError: if there is no space, or bins or hops are none.
    """

    def __init__(
        self, node_features: int, edge_features: int, classes: int, design: Design | None = None, seed: int = 0
    ) -> None:
        super().__init__()
        self.design = design = design or Design()
        if not design.spaces:
            raise SymmetryError("design.spaces is empty; name the features of at least one layer.")
        self.node_features, self.edge_features = node_features, edge_features
        self.networks = EgoNetworks(design.hops, checked_bins(design.bins)[-1])
        generator = torch.Generator().manual_seed(seed)
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        orders, channels = (2,), 1 + edge_features + node_features
        for space in design.spaces:
            self.layers.append(SPENLayer((orders, space.orders), channels, space.width, design.bins, generator))
            channels, orders = len(orders) * space.width, space.orders
            self.norms.append(nn.ModuleDict({str(order): SortedGraphNorm(channels, EPSILON) for order in orders}))
        self.layers.append(SPENLayer((orders, (0,)), channels, design.width, design.bins, generator))
        widths = (len(orders) * design.width, *design.readout, classes)
        self.readout = nn.ModuleList(EquivariantLinear(0, 0, a, b, generator) for a, b in pairwise(widths))
        self.dropout = nn.Dropout(design.dropout)

    def forward(self, data: Data) -> Tensor:
        """The classes' scores, [graphs, classes].

        Args:
            data: a graph or a batch of graphs, best with the ego networks that `EgoNetworks` adds.

        Raises:
            SymmetryError: if the graph is none, or its features or hops are not those of the model.
            CapacityError: if an ego network is larger than the last bin.
        """
        self._check(data)
        if isinstance(data, EgoData):
            graph = data
            self._check_networks(graph)
        else:
            graph = self.networks(data)
        plan = Plan.of(graph)
        batch = graph.batch if graph.batch is not None else graph.ego_sizes.new_zeros(len(graph.ego_sizes))
        graphs = int(batch[-1]) + 1
        owners = {2: batch[graph.pair_nodes[0]], 1: batch}
        features = {2: self.lifted(graph)}
        for layer, norms in zip(self.layers, self.norms, strict=False):
            assert isinstance(norms, nn.ModuleDict)
            features = {
                order: norms[str(order)](nn.functional.elu(values), owners[order], graphs)
                for order, values in layer(features, plan).items()
            }
        egos = nn.functional.elu(self.layers[-1](features, plan)[0])
        scores = scatter(egos, batch, dim=0, dim_size=graphs, reduce="mean")
        for number, linear in enumerate(self.readout):
            scores = linear(scores if number == 0 else self.dropout(nn.functional.elu(scores)))
        return scores

    def lifted(self, data: EgoData) -> Tensor:
        """The input as one tensor of order 2: adjacency, edge features, and node features on the diagonal."""
        dtype = self.readout[0].bias.dtype
        columns = 1 + self.edge_features + self.node_features
        values = data.ego_sizes.new_zeros(data.pair_nodes.shape[1], columns, dtype=dtype)
        edges = [values.new_ones(len(data.edge_pairs), 1)]
        if data.edge_attr is not None:
            edges.append(data.edge_attr)
        values = values.index_add(0, data.edge_pairs, _padded(torch.cat(edges, dim=1), 0, columns))
        if data.x is not None:
            values = values.index_add(0, data.node_pairs, _padded(data.x, 1 + self.edge_features, columns))
        return values

    def _check(self, data: Data) -> None:
        dtype = self.readout[0].bias.dtype
        for name, expected in (("x", self.node_features), ("edge_attr", self.edge_features)):
            values = data.get(name)
            found = 0 if values is None else values.shape[-1]
            if found != expected:
                raise SymmetryError(f"data.{name} has {found} columns; this model was built for {expected}.")
            if values is not None and values.dtype != dtype:
                raise SymmetryError(
                    f"data.{name} is {values.dtype} and the model is {dtype}; convert one of them, for example by "
                    f"data.{name}.to(torch.{str(dtype).removeprefix('torch.')})."
                )

    def _check_networks(self, data: EgoData) -> None:
        hops = data.ego_hops
        found = set(hops.tolist()) if isinstance(hops, Tensor) else {hops}
        if found != {self.design.hops}:
            raise SymmetryError(
                f"The ego networks of the data have {sorted(found)} hops, the model's {self.design.hops}; transform "
                f"the data by EgoNetworks({self.design.hops})."
            )
        check_sizes(data, data.ego_sizes, self.networks.largest, self.design.hops)


def _padded(values: Tensor, before: int, columns: int) -> Tensor:
    return nn.functional.pad(values, (before, columns - before - values.shape[1]))

# SPDX-License-Identifier: Apache-2.0
"""Graphs for the tests of SPEN."""

import networkx as nx
import torch
from torch_geometric.data import Data


def data(graph, node_features=0, edge_features=0, seed=0):
    """A networkx graph with random features; self-loops stand once."""
    graph = nx.convert_node_labels_to_integers(graph)
    both = sorted({pair for a, b in graph.edges for pair in ((a, b), (b, a))})
    edges = torch.tensor(both, dtype=torch.long).reshape(-1, 2).t().contiguous()
    generator = torch.Generator().manual_seed(seed)
    found = Data(edge_index=edges, num_nodes=len(graph))
    if node_features:
        found.x = torch.randn(len(graph), node_features, generator=generator, dtype=torch.float64)
    if edge_features:
        found.edge_attr = torch.randn(len(both), edge_features, generator=generator, dtype=torch.float64)
    return found


def random_data(seed, nodes=9, features=2):
    """A random directed graph with loops and isolated nodes, node features and edge features."""
    generator = torch.Generator().manual_seed(seed)
    edges = (torch.rand(nodes, nodes, generator=generator) < 1.5 / nodes).nonzero().t().contiguous()
    x = torch.randn(nodes, features, generator=generator, dtype=torch.float64)
    attributes = torch.randn(edges.shape[1], features, generator=generator, dtype=torch.float64)
    return Data(x=x, edge_index=edges, edge_attr=attributes)


def relabeled(graph, seed):
    """The same graph with its nodes and edges in another order."""
    generator = torch.Generator().manual_seed(seed)
    nodes = torch.randperm(graph.num_nodes, generator=generator)
    edges = torch.randperm(graph.num_edges, generator=generator)
    other = Data(edge_index=nodes[graph.edge_index[:, edges]], num_nodes=graph.num_nodes)
    if graph.x is not None:
        other.x = torch.empty_like(graph.x)
        other.x[nodes] = graph.x
    if graph.edge_attr is not None:
        other.edge_attr = graph.edge_attr[edges]
    return other

# SPDX-License-Identifier: Apache-2.0
"""What a graph must be before its ego networks are built.

Isolated nodes, self-loops, graphs without edges or with one node, and directed edges are all graphs: an isolated node's
ego network is itself, a self-loop is an entry on the diagonal. Refused is what would change the result unseen.
"""

import torch
from torch import Tensor
from torch_geometric.data import Data

from rankwise.errors import SymmetryError


def check_graph(data: Data) -> None:
    """Refuse what is no graph.

    Raises:
        SymmetryError: if the number of nodes is a guess, a graph has none, an edge's node does not exist, lies in
            another graph or the edge stands twice, or features have the wrong shape or are not finite.
    """
    if data.x is None and "num_nodes" not in data:
        raise SymmetryError(
            "The graph has neither x nor num_nodes, and edges alone do not show isolated nodes; set data.num_nodes."
        )
    n = int(data.num_nodes or 0)
    if n == 0:
        raise SymmetryError("The graph has no nodes; it needs at least one.")
    _check_batch(data, n)
    _check_edges(data, n)
    _check_features(data, "x", n, "node")
    _check_features(data, "edge_attr", data.num_edges, "edge")


def place_of(data: Data, node: int) -> str:
    """How messages name a node: its own number, and its graph's in a batch."""
    if data.batch is None:
        return f"node {node}"
    graph = int(data.batch[node])
    first = int((data.batch < graph).sum())
    return f"node {node - first} of graph {graph} of the batch"


def _check_batch(data: Data, n: int) -> None:
    batch = data.batch
    if batch is None:
        return
    if len(batch) != n or (batch[1:] < batch[:-1]).any():
        raise SymmetryError(f"batch names the graph of each of the {n} nodes, ascending; it has {len(batch)} numbers.")
    counts = data.ptr.diff() if "ptr" in data else batch.bincount()
    empty = (counts == 0).nonzero()
    if len(empty):
        raise SymmetryError(f"Graph {int(empty[0])} of the batch has no nodes; leave it out.")


def _check_edges(data: Data, n: int) -> None:
    edges = data.edge_index
    if edges is None or edges.ndim != 2 or len(edges) != 2 or edges.dtype != torch.long:
        given = None if edges is None else f"{edges.dtype} of shape {tuple(edges.shape)}"
        raise SymmetryError(
            f"edge_index is {given}; it must be torch.int64 of shape [2, edges], [2, 0] for a graph without edges."
        )
    outside = ((edges < 0) | (edges >= n)).any(dim=0).nonzero()
    if len(outside):
        edge = edges[:, outside[0, 0]].tolist()
        raise SymmetryError(f"Edge {int(outside[0, 0])} joins {edge[0]} and {edge[1]}; the nodes are 0..{n - 1}.")
    keys, counts = torch.unique(edges[0] * n + edges[1], return_counts=True)
    if (counts > 1).any():
        key = int(keys[counts.argmax()])
        raise SymmetryError(
            f"The edge from {place_of(data, key // n)} to {place_of(data, key % n)} stands {int(counts.max())} times; "
            "merge repeated edges first, for example by torch_geometric.utils.coalesce."
        )
    if data.batch is not None and (data.batch[edges[0]] != data.batch[edges[1]]).any():
        raise SymmetryError("An edge joins nodes of two graphs of the batch; graphs of a batch are disjoint.")


def _check_features(data: Data, name: str, rows: int, what: str) -> None:
    values: Tensor | None = data.get(name)
    if values is None:
        return
    if values.ndim != 2 or len(values) != rows or not values.is_floating_point():
        raise SymmetryError(
            f"{name} is {values.dtype} of shape {tuple(values.shape)}; it must hold floating point numbers, one row "
            f"for each of the {rows} {what}s."
        )
    broken = (~values.isfinite()).any(dim=1).nonzero()
    if len(broken):
        row = int(broken[0, 0])
        where = place_of(data, row) if what == "node" else f"edge {row}"
        raise SymmetryError(f"{name} of {where} is {values[row].tolist()}; every feature must be finite.")

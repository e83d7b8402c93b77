# SPDX-License-Identifier: Apache-2.0
import math

import networkx as nx
import pytest
import torch
from torch_geometric.data import Batch, Data

from rankwise.errors import CapacityError, SymmetryError
from rankwise.symmetry.spen import SPEN, Design, EgoNetworks, Space
from symmetry.spen.cases import data, random_data, relabeled

SMALL = {"spaces": (Space(3),), "width": 3, "readout": (4,)}


def model(features=0, **design):
    return SPEN(features, features, 2, Design(**(SMALL | design))).double().eval()


def edges(*pairs):
    return torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).t()


@pytest.mark.parametrize(
    "graph",
    [
        Data(edge_index=edges(), num_nodes=1),
        Data(edge_index=edges(), num_nodes=4),
        Data(edge_index=edges((0, 0)), num_nodes=1),
        Data(edge_index=edges((0, 1), (1, 0)), num_nodes=5),
        Data(edge_index=edges((0, 1), (1, 1), (2, 1)), num_nodes=3),
    ],
    ids=["one node", "no edges", "one loop", "isolated nodes", "directed with a loop"],
)
def test_odd_graphs_are_graphs(graph):
    scores = model(hops=2)(graph)
    assert scores.shape == (1, 2)
    assert scores.isfinite().all()
    assert (model(hops=2)(relabeled(graph, 3)) - scores).abs().max() < 1e-12


def test_a_loop_an_isolated_node_and_a_direction_change_the_output():
    plain = Data(edge_index=edges((0, 1), (1, 0)), num_nodes=2)
    scores = model()(plain)
    for other in (
        Data(edge_index=edges((0, 1), (1, 0), (0, 0)), num_nodes=2),
        Data(edge_index=edges((0, 1), (1, 0)), num_nodes=3),
        Data(edge_index=edges((0, 1)), num_nodes=2),
    ):
        assert (model()(other) - scores).abs().max() > 1e-3


def test_the_largest_ego_network_is_named():
    star = data(nx.star_graph(6))
    with pytest.raises(CapacityError, match=r"node 0 has 7 nodes within 1 hop; the bins end at 4.*End the bins at 7"):
        model(bins=(2, 4))(star)
    batch = Batch.from_data_list([data(nx.path_graph(3)), star])
    with pytest.raises(CapacityError, match="node 0 of graph 1 of the batch"):
        model(bins=(2, 4))(batch)
    ready = Batch.from_data_list([EgoNetworks(1)(data(nx.path_graph(3))), EgoNetworks(1)(star)])
    with pytest.raises(CapacityError, match="node 0 of graph 1 of the batch"):
        model(bins=(2, 4))(ready)
    assert model(bins=(2, math.inf))(star).isfinite().all()
    assert model(bins=(2, 7))(star).isfinite().all()


def test_a_hub_is_refused_before_its_entries_are_listed():
    leaves = torch.arange(1, 40_001)
    star = Data(edge_index=torch.stack([leaves, torch.zeros_like(leaves)]), num_nodes=40_001)
    with pytest.raises(CapacityError, match=r"1,600,240,001 entries.*node 0 alone 1,600,080,001"):
        EgoNetworks(1)(star)


def test_features_that_are_not_finite():
    graph = random_data(0)
    graph.x[3, 1] = math.nan
    with pytest.raises(SymmetryError, match=r"x of node 3 is \[.*nan.*must be finite"):
        model(2)(graph)
    graph = Batch.from_data_list([random_data(0), random_data(1)])
    graph.edge_attr[-1, 0] = math.inf
    with pytest.raises(SymmetryError, match="edge_attr of edge"):
        EgoNetworks(1)(graph)


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (Data(edge_index=edges((0, 1))), "set data.num_nodes"),
        (Data(edge_index=edges(), num_nodes=0), "no nodes"),
        (Data(edge_index=edges((0, 3)), num_nodes=3), r"joins 0 and 3; the nodes are 0\.\.2"),
        (Data(edge_index=edges((0, -1)), num_nodes=3), "joins 0 and -1"),
        (Data(edge_index=edges((0, 1), (0, 1)), num_nodes=3), "from node 0 to node 1 stands 2 times.*coalesce"),
        (Data(edge_index=edges((0, 1)).float(), num_nodes=3), "must be torch.int64"),
        (Data(num_nodes=3), r"edge_index is None.*\[2, 0\]"),
        (Data(edge_index=edges((0, 1)), x=torch.ones(2)), "one row for each of the 2 nodes"),
        (Data(edge_index=edges((0, 1)), x=torch.ones(2, 1, dtype=torch.long)), "floating point"),
        (Data(edge_index=edges((0, 2)), num_nodes=3, batch=torch.tensor([0, 0, 1])), "two graphs of the batch"),
        (
            Data(edge_index=edges((0, 1)), num_nodes=3, batch=torch.tensor([0, 0, 2])),
            "Graph 1 of the batch has no nodes",
        ),
        (Data(edge_index=edges((0, 1)), num_nodes=3, batch=torch.tensor([1, 1, 0])), "ascending"),
    ],
)
def test_what_is_no_graph(graph, words):
    with pytest.raises(SymmetryError, match=words):
        EgoNetworks(1)(graph)


def test_what_does_not_fit_the_model():
    with pytest.raises(SymmetryError, match=r"data\.x has 2 columns; this model was built for 0"):
        model()(random_data(0))
    with pytest.raises(SymmetryError, match=r"data\.x is torch\.float64 and the model is torch\.float32.*to\(torch"):
        model(2).float()(random_data(0))
    with pytest.raises(SymmetryError, match=r"have \[2\] hops, the model's 1"):
        model(2)(EgoNetworks(2)(random_data(0)))
    mixed = Batch.from_data_list([EgoNetworks(2)(random_data(0)), EgoNetworks(1)(random_data(1))])
    with pytest.raises(SymmetryError, match=r"have \[1, 2\] hops"):
        model(2)(mixed)


def test_designs_that_are_none():
    with pytest.raises(SymmetryError, match="at least 1 hop"):
        model(hops=0)
    with pytest.raises(SymmetryError, match="at least one layer"):
        model(spaces=())
    with pytest.raises(SymmetryError, match="ascending integers"):
        model(bins=(3, 1))
    with pytest.raises(SymmetryError, match=r"orders=\(3,\)"):
        Space(4, (3,))
    with pytest.raises(SymmetryError, match="width=0"):
        Space(0)

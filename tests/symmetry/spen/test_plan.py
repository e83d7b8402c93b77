# SPDX-License-Identifier: Apache-2.0
import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch

from rankwise.errors import SymmetryError
from rankwise.symmetry.spen import SHARED, EgoNetworks, MixedLinear, Plan, SPENLayer, fitted_bins
from rankwise.symmetry.spen.bins import bin_of, checked_bins
from rankwise.symmetry.spen.scattering import summed
from symmetry.spen.cases import data, random_data


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 12))
def test_ego_networks_are_those_of_networkx(seed, hops, nodes):
    graph = random_data(seed, nodes)
    found = EgoNetworks(hops)(graph)
    known = nx.Graph(graph.edge_index.t().tolist())
    known.add_nodes_from(range(nodes))
    lists = found.ego_nodes.split(found.ego_sizes.tolist())
    stored = set()
    for node, ego in enumerate(lists):
        expected = sorted(nx.ego_graph(known, node, hops))
        assert ego.tolist() == expected
        stored |= {(a, b) for a in expected for b in expected}
    assert sorted(stored) == list(map(tuple, found.pair_nodes.t().tolist()))
    assert torch.equal(found.pair_nodes[:, found.edge_pairs], graph.edge_index)
    assert torch.equal(found.pair_nodes[:, found.node_pairs], torch.arange(nodes).expand(2, -1))
    entries = found.pair_nodes[:, found.ego_pairs].t().tolist()
    assert entries == [[a, b] for ego in lists for a in ego.tolist() for b in ego.tolist()]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 2))
def test_the_mean_over_networks_undoes_taking_them_out(seed, hops):
    graph = EgoNetworks(hops)(random_data(seed))
    plan = Plan.of(graph)
    generator = torch.Generator().manual_seed(seed)
    features = {
        2: torch.randn(graph.pair_nodes.shape[1], 3, generator=generator, dtype=torch.float64),
        1: torch.randn(graph.num_nodes, 3, generator=generator, dtype=torch.float64),
    }
    for order, values in features.items():
        parts = plan.contracted(values, order, order)
        assert parts[-1].shape[0] == sum(number * size**order for size, number in plan.groups)
        alone = [torch.zeros_like(part) for part in parts]
        alone[-1] = parts[-1]
        back = plan.embedded(alone, order) / plan.counts[order]
        torch.testing.assert_close(back, values, rtol=0, atol=1e-13)


def test_layer_is_its_definition_one_ego_network_at_a_time():
    graph = EgoNetworks(1)(data(nx.lollipop_graph(4, 3), 1))
    generator = torch.Generator().manual_seed(0)
    layer = SPENLayer(((2, 1), (2, 1, 0)), 2, 3, (2, 4, 9), generator).double()
    for parameter in layer.parameters():
        parameter.data.normal_(generator=generator)
    n = graph.num_nodes
    dense = {
        2: torch.randn(n, n, 2, generator=generator, dtype=torch.float64),
        1: torch.randn(n, 2, generator=generator, dtype=torch.float64),
    }
    stored = graph.pair_nodes
    found = layer({2: dense[2][stored[0], stored[1]], 1: dense[1]}, Plan.of(graph))
    mask = torch.zeros(n, n, 1, dtype=torch.float64)
    mask[stored[0], stored[1]] = 1
    total = {2: torch.zeros(n, n, 6).double(), 1: torch.zeros(n, 6).double(), 0: torch.zeros(n, 6).double()}
    counts = {2: torch.zeros(n, n, 1), 1: torch.zeros(n, 1)}
    known = nx.lollipop_graph(4, 3)
    for v in range(n):
        ego = torch.tensor(sorted(nx.ego_graph(known, v, 1)))
        weights = layer.bins[bin_of((2, 4, 9), len(ego))]
        mapped = weights({2: (dense[2] * mask)[ego][:, ego][None], 1: dense[1][ego][None]}, len(ego))
        total[2][ego[:, None], ego] += mapped[2][0]
        counts[2][ego[:, None], ego] += 1
        total[1][ego] += mapped[1][0]
        counts[1][ego] += 1
        total[0][v] = mapped[0][0]
    expected = {2: (total[2] / counts[2])[stored[0], stored[1]], 1: total[1] / counts[1], 0: total[0]}
    for order, values in expected.items():
        torch.testing.assert_close(found[order], values, rtol=0, atol=1e-12)


def test_sum_by_place():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(5, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    places = torch.tensor([3, 0, 3, 1, 3])
    expected = torch.stack([values[1], values[3], 0 * values[0], values[0] + values[2] + values[4]])
    torch.testing.assert_close(summed(values, places, 4), expected)
    assert torch.autograd.gradcheck(summed, (values, places, 4))
    assert torch.autograd.gradgradcheck(summed, (values, places, 4))


def test_a_batch_is_its_graphs_one_after_another_and_nothing_is_padded():
    graphs = [random_data(seed, nodes) for seed, nodes in enumerate((1, 5, 12, 3))]
    networks = EgoNetworks(2)
    alone = [networks(graph) for graph in graphs]
    batched = [networks(Batch.from_data_list(graphs)), Batch.from_data_list(alone)]
    for key in ("ego_sizes", "ego_nodes", "ego_pairs", "pair_nodes", "edge_pairs", "node_pairs"):
        assert torch.equal(batched[0][key], batched[1][key])
    plan = Plan.of(batched[1])
    assert len(plan.places[2]) == sum(int((graph.ego_sizes**2).sum()) for graph in alone)


def test_one_bin_shares_and_bins_are_found_by_size():
    assert [bin_of((1, 3, 8), size) for size in (1, 2, 3, 4, 8)] == [0, 1, 1, 2, 2]
    assert bin_of(SHARED, 10**6) == 0
    assert checked_bins([2, 5]) == (2, 5)
    for wrong in ((), (3, 2), (2, 2), (0, 1), (1.5,)):
        with pytest.raises(SymmetryError, match="ascending integers"):
            checked_bins(wrong)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=10, max_size=100), st.integers(1, 10))
def test_fitted_bins_have_enough_each(sizes, least):
    bounds = checked_bins(fitted_bins(torch.tensor(sizes), least))
    filled = torch.tensor([bin_of(bounds, size) for size in sizes]).bincount(minlength=len(bounds))
    assert filled.min() >= least
    with pytest.raises(SymmetryError, match="each bin"):
        fitted_bins(torch.tensor(sizes), len(sizes) + 1)


def test_mixed_layer_of_one_bin_is_independent_of_the_others():
    generator = torch.Generator().manual_seed(0)
    layer = SPENLayer(((2,), (1,)), 1, 1, (3, 4), generator)
    assert all(isinstance(bin_, MixedLinear) for bin_ in layer.bins)
    graph = EgoNetworks(1)(data(nx.cycle_graph(5)))
    features = {2: torch.ones(graph.pair_nodes.shape[1], 1)}
    layer(features, Plan.of(graph))[1].sum().backward()
    grads = [[parameter.grad is not None for parameter in bin_.parameters()] for bin_ in layer.bins]
    assert grads == [[True] * 3, [False] * 3]  # every ego network of a cycle has three nodes

# SPDX-License-Identifier: Apache-2.0
import networkx as nx
import pytest
import spen_pairs
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spen_pairs import PAIRS
from torch import nn
from torch_geometric.data import Batch

from rankwise.symmetry.spen import SPEN, Design, EgoNetworks, Space
from rankwise.symmetry.spen.network import EPSILON
from symmetry.spen.cases import data, random_data, relabeled

SPACES = (Space(4), Space(3, (2,)), Space(5), Space(4, (1,)))


def network(hops=1, features=2, classes=3, **design):
    design = {"spaces": SPACES, "width": 4, "readout": (8, 6)} | design
    model = SPEN(features, features, classes, Design(hops=hops, **design), seed=1).double().eval()
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 2), st.integers(1, 12))
def test_output_does_not_depend_on_the_order_of_nodes_and_edges(seed, hops, nodes):
    graph, model = random_data(seed, nodes), network(hops)
    scores = model(graph)
    assert (model(relabeled(graph, seed + 1)) - scores).abs().max() < 1e-12
    assert torch.equal(model(graph), scores)


def test_rows_taken_channel_by_channel_would_break_it():
    # Flattening [channels, nodes] to rows without moving the channels last mixes them with the nodes.
    graph, model = data(nx.lollipop_graph(4, 4), 2, 2), network()
    other = relabeled(graph, 1)
    assert (model(graph) - model(other)).abs().max() < 1e-12

    def mixed_up(module, given, result):
        return {order: values.t().reshape(values.shape) if order == 1 else values for order, values in result.items()}

    for layer in model.layers:
        layer.register_forward_hook(mixed_up)
    assert (model(graph) - model(other)).abs().max() > 1e-2


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_a_batch_is_its_graphs_one_by_one_in_any_order(seed):
    graphs = [random_data(seed + number, nodes) for number, nodes in enumerate((7, 1, 12, 3, 4))]
    model = network(2)
    alone = torch.cat([model(graph) for graph in graphs])
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed)).tolist()
    for networks in (lambda graph: graph, EgoNetworks(2)):
        batch = Batch.from_data_list([networks(graphs[number]) for number in order])
        assert (model(batch) - alone[order]).abs().max() < 1e-12


@pytest.mark.parametrize("hops", [1, 2])
def test_gradients_reach_features_and_weights(hops):
    graph = data(nx.path_graph(4), 2, 2)
    model = network(hops, classes=1, spaces=(Space(2), Space(2)))

    def call(x, attributes):
        graph.x, graph.edge_attr = x, attributes
        return model(graph)

    assert torch.autograd.gradcheck(call, (graph.x.requires_grad_(), graph.edge_attr.requires_grad_()))
    call(graph.x, graph.edge_attr).sum().backward()
    bins = (1, 2) if hops == 1 else (2, 3)  # the ego networks of a path of four nodes have 2, 3 or 3, 4 nodes
    for layer in model.layers:
        for number, weights in enumerate(layer.bins):
            reached = any(parameter.grad is not None for parameter in weights.parameters())
            assert reached == (number in bins)


def test_rounding_does_not_grow_where_all_nodes_look_alike():
    # Their features have no variance; the usual 1e-5 under GraphNorm's root turns rounding into per cents of scores.
    def worst(model):
        changes = []
        for known in (nx.cycle_graph(10), nx.petersen_graph(), nx.circulant_graph(13, [1, 3])):
            graph = data(known)
            scores = model(graph)
            changes += [(model(relabeled(graph, seed)) - scores).abs().max() / scores.abs().max() for seed in range(4)]
        return max(changes)

    model = SPEN(0, 0, 2).eval()
    assert worst(model) < 1e-4
    for norms in model.norms:
        for order in norms:
            norms[order].eps = 1e-5
    assert worst(model) > 1e-2


def norm(values, module):
    shifted = values - values.mean(dim=0) * module.mean_scale
    return module.weight * shifted / (shifted.square().mean(dim=0) + EPSILON).sqrt() + module.bias


def test_ego_networks_that_are_the_whole_graph_give_the_global_network():
    known = nx.lollipop_graph(4, 2)
    graph, n = data(known, 2, 2), len(known)
    model = network(nx.diameter(known), bins=(3, n))
    dense = torch.zeros(n, n, 5, dtype=torch.float64)
    rows, columns = graph.edge_index
    dense[rows, columns, 0] = 1
    dense[rows, columns, 1:3] = graph.edge_attr
    dense[range(n), range(n), 3:] = graph.x
    features = {2: dense}
    for layer, norms in zip(model.layers, model.norms, strict=False):
        features = {
            order: norm(nn.functional.elu(values).flatten(0, -2), norms[str(order)]).view(values.shape)
            for order, values in layer.bins[1](features, n).items()
        }
    scores = nn.functional.elu(model.layers[-1].bins[1](features, n)[0])
    for linear in model.readout[:-1]:
        scores = nn.functional.elu(linear(scores))
    assert (model(graph)[0] - model.readout[-1](scores)).abs().max() < 1e-12


# What k = 1 cannot see: neighborhoods that are alike. GraphNorm sees one thing more, how many pairs are stored.
ALIKE = ("two squares, octagon", "C13(1,3), C13(1,5)", "two pentagons, decagon", "decalin, bicyclopentyl")


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_that_color_refinement_cannot_tell_apart(name):
    colored = [graph.copy() for graph in PAIRS[name]]
    for graph in colored:
        nx.set_node_attributes(graph, "same", "color")
    colors = [nx.weisfeiler_lehman_graph_hash(graph, node_attr="color", iterations=20) for graph in colored]
    assert colors[0] == colors[1]
    for hops in (1, 2):
        for normalized in (True, False):
            found = spen_pairs.difference(spen_pairs.network(hops, normalized), PAIRS[name])
            same = name == "4x4 rook, Shrikhande" or (hops == 1 and name in (ALIKE[2:] if normalized else ALIKE))
            assert found < 1e-12 if same else found > 1e-4, (hops, normalized)
    assert spen_pairs.difference(spen_pairs.ConstantGIN().double().eval(), PAIRS[name]) < 1e-12


@pytest.mark.slow
def test_finds_triangles_in_regular_graphs():
    graphs = []
    for label in (0, 1):
        seed = 0
        while sum(found.y == label for found in graphs) < 300:
            known = nx.random_regular_graph(3, 12, seed=seed)
            seed += 1
            if (sum(nx.triangles(known).values()) > 0) == bool(label):
                graph = EgoNetworks(1)(data(known))
                graph.y = label
                graphs.append(graph)
    order = torch.randperm(600, generator=torch.Generator().manual_seed(0)).tolist()
    graphs = [graphs[number] for number in order]
    model = SPEN(0, 0, 2, Design(spaces=(Space(8), Space(8)), width=8, dropout=0.0))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(10):
        for start in range(0, 400, 50):
            batch = Batch.from_data_list(graphs[start : start + 50])
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(batch), batch.y).backward()
            optimizer.step()
    test = Batch.from_data_list(graphs[400:])
    assert (model.eval()(test).argmax(dim=1) == test.y).float().mean() == 1


def test_the_seed_gives_the_weights_and_a_state_dict_carries_them():
    graph, one, same, other = random_data(0), *(SPEN(2, 2, 3, seed=seed).double().eval() for seed in (0, 0, 1))
    assert torch.equal(one(graph), same(graph))
    assert not torch.allclose(one(graph), other(graph))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(graph), other(graph))

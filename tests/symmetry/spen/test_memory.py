# SPDX-License-Identifier: Apache-2.0
import networkx as nx
import torch
from activation_bytes import activation_bytes
from spen_memory import kept

from symmetry.spen.cases import data


def test_bytes_are_those_of_the_tensors_that_backward_reads():
    x, weight = torch.ones(5, 3, requires_grad=True), torch.ones(3, 4, requires_grad=True)
    assert activation_bytes(lambda: x @ weight, (x, weight)) == 0
    assert activation_bytes(lambda: (2 * x) @ weight, (x, weight)) == 5 * 3 * 4
    assert activation_bytes(lambda: (x @ weight).exp().exp(), (x, weight)) == 2 * 5 * 4 * 4


def test_ego_networks_grow_with_the_graph_and_the_global_layer_with_its_square():
    small, large = (kept(data(nx.cycle_graph(nodes)), hops=1, width=4) for nodes in (32, 128))
    assert abs(large[0] / small[0] - 4) < 0.05
    assert 14 < large[1] / small[1] < 16
    ratios = small[1] / small[0], large[1] / large[0]
    assert ratios[0] > 1.5
    assert ratios[1] > 6

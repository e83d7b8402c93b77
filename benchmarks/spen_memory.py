"""Memory that a second-order layer keeps for its gradients: on ego networks, and on the whole graph.

Two layers (2, 1) -> (2, 1) with an ELU before each, as SPEN has them and as a global second-order network has them,
with the same weights. Only tensors of numbers count; the index lists of the ego networks are shared by all layers and
channels.
"""

import torch
from activation_bytes import activation_bytes
from torch import Tensor, nn
from torch_geometric.data import Data

from rankwise.symmetry.spen import SHARED, EgoNetworks, MixedLinear, Plan, SPENLayer

ORDERS = (2, 1)


def elu(features: dict[int, Tensor]) -> dict[int, Tensor]:
    """ELU on every order."""
    return {order: nn.functional.elu(values) for order, values in features.items()}


def kept(graph: Data, hops: int, width: int) -> tuple[int, int]:
    """Bytes on the ego networks and on the whole graph."""
    generator = torch.Generator().manual_seed(0)
    first = SPENLayer((ORDERS, ORDERS), width, width // 2, SHARED, generator)
    second = SPENLayer((ORDERS, ORDERS), width, width // 2, SHARED, generator)
    ready = EgoNetworks(hops)(graph)
    plan, n = Plan.of(ready), len(ready.ego_sizes)
    local = _ones({2: (ready.pair_nodes.shape[1], width), 1: (n, width)})
    dense = _ones({2: (1, n, n, width), 1: (1, n, width)})
    known = [*first.parameters(), *second.parameters(), *local.values(), *dense.values()]

    def globally() -> dict[int, Tensor]:
        middle: dict[int, Tensor] = _whole(first)(elu(dense), n)
        return _whole(second)(elu(middle), n)

    return activation_bytes(lambda: second(elu(first(elu(local), plan)), plan), known), activation_bytes(
        globally, known
    )


def _whole(layer: SPENLayer) -> MixedLinear:
    weights = layer.bins[0]
    assert isinstance(weights, MixedLinear)
    return weights


def _ones(shapes: dict[int, tuple[int, ...]]) -> dict[int, Tensor]:
    return {order: torch.ones(shape, requires_grad=True) for order, shape in shapes.items()}

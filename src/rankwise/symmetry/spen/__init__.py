# SPDX-License-Identifier: Apache-2.0
"""Permutation-equivariant linear maps of any order, and subgraph permutation equivariant networks (SPEN).

    EquivariantLinear    all equivariant affine maps from order k to order l, with channels
    MixedLinear          the same between features of several orders
    SPEN                 graph classification from equivariant maps on k-hop ego networks
    EgoNetworks          a torch-geometric transform that computes the ego networks once

The maps need torch alone. What works on graphs needs torch-geometric and numba, and is imported when it is first used.
Reference: Mitton, Murray-Smith, Subgraph permutation equivariant networks, https://arxiv.org/abs/2111.11840.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rankwise.symmetry.spen.bins import EACH_SIZE, SHARED, fitted_bins
from rankwise.symmetry.spen.design import Design, Space
from rankwise.symmetry.spen.linear import EquivariantLinear
from rankwise.symmetry.spen.mixed import MixedLinear

if TYPE_CHECKING:
    from rankwise.symmetry.spen.graphs import EgoData, EgoNetworks
    from rankwise.symmetry.spen.layer import SPENLayer
    from rankwise.symmetry.spen.network import SPEN
    from rankwise.symmetry.spen.plan import Plan
    from rankwise.symmetry.spen.text_graphs import read_graphs

__all__ = [
    "EACH_SIZE",
    "SHARED",
    "SPEN",
    "Design",
    "EgoData",
    "EgoNetworks",
    "EquivariantLinear",
    "MixedLinear",
    "Plan",
    "SPENLayer",
    "Space",
    "fitted_bins",
    "read_graphs",
]

_ON_GRAPHS = {
    "EgoData": "graphs",
    "EgoNetworks": "graphs",
    "Plan": "plan",
    "SPEN": "network",
    "SPENLayer": "layer",
    "read_graphs": "text_graphs",
}


def __getattr__(name: str) -> Any:
    """Import what works on graphs when it is first used."""
    if name not in _ON_GRAPHS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_ON_GRAPHS[name]}")
    except ModuleNotFoundError as error:
        message = f"{name} needs torch-geometric and numba; run `pip install 'rankwise[graph]'`."
        raise ModuleNotFoundError(message, name=error.name) from None
    globals()[name] = getattr(module, name)
    return globals()[name]

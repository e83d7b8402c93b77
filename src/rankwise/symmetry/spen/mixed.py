# SPDX-License-Identifier: Apache-2.0
"""Equivariant maps between features of several orders at once.

A network holds features of order 2 (pairs of nodes) and of order 1 (nodes) side by side. Every order of the input is
mapped to every order of the output, and what arrives at one order is put side by side in the channels:

    y_l = (L_(k1 -> l) x_k1, L_(k2 -> l) x_k2, ...).

The contractions of x_k are computed once and used by all its maps. Reference: https://arxiv.org/abs/2111.11840.
"""

import torch
from torch import Tensor, nn

from rankwise.symmetry.spen.linear import EquivariantLinear
from rankwise.symmetry.spen.tensors import contracted


class MixedLinear(nn.Module):
    """Maps {order: features} to {order: features}.

    Args:
        in_orders: the orders of the input.
        out_orders: the orders of the output.
        d_in: channels of every input.
        d_out: channels of every map; an output has len(in_orders) * d_out of them.
        generator: draws the weights.
    """

    def __init__(
        self,
        in_orders: tuple[int, ...],
        out_orders: tuple[int, ...],
        d_in: int,
        d_out: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.in_orders, self.out_orders = in_orders, out_orders
        self.maps = nn.ModuleDict(
            {
                f"{before}_to_{after}": EquivariantLinear(before, after, d_in, d_out, generator)
                for before in in_orders
                for after in out_orders
            }
        )

    def forward(self, features: dict[int, Tensor], size: int) -> dict[int, Tensor]:
        """Apply all maps to tensors [..., n, .., n, d_in] with n = `size`."""
        results: dict[int, list[Tensor]] = {order: [] for order in self.out_orders}
        for before in self.in_orders:
            most = min(before, max(self.out_orders))
            shared = [contracted(features[before], before, kept) for kept in range(most + 1)]
            for after, found in results.items():
                found.append(self.map(before, after).embed(shared, size))
        return {order: torch.cat(found, dim=-1) for order, found in results.items()}

    def map(self, before: int, after: int) -> EquivariantLinear:
        """The map from one order to another."""
        linear = self.maps[f"{before}_to_{after}"]
        assert isinstance(linear, EquivariantLinear)
        return linear

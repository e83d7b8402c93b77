# SPDX-License-Identifier: Apache-2.0
"""One layer: equivariant maps on every ego network, with the weights of its bin, averaged back onto the graph.

Reference: Mitton, Murray-Smith, Subgraph permutation equivariant networks, https://arxiv.org/abs/2111.11840.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rankwise.symmetry.spen.bins import bin_of, checked_bins
from rankwise.symmetry.spen.mixed import MixedLinear
from rankwise.symmetry.spen.plan import Plan


class SPENLayer(nn.Module):
    """Equivariant maps on the ego networks of a graph.

    Args:
        orders: the orders of the input, among 1 and 2, and those of the output, among 0, 1 and 2; order 0 has one row
            for each ego network.
        d_in: channels of every input.
        d_out: channels of every map; an output has d_out of them for each order of the input.
        bins: the largest ego network of each bin, ascending; the last may be math.inf.
        generator: draws the weights.
    """

    def __init__(
        self,
        orders: tuple[tuple[int, ...], tuple[int, ...]],
        d_in: int,
        d_out: int,
        bins: Sequence[float],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.bounds = checked_bins(bins)
        self.bins = nn.ModuleList(MixedLinear(*orders, d_in, d_out, generator) for _ in self.bounds)
        self.out_orders = orders[1]

    def forward(self, features: dict[int, Tensor], plan: Plan) -> dict[int, Tensor]:
        """Apply the layer to features [nodes, d_in] of order 1 and [stored pairs, d_in] of order 2."""
        results: dict[int, list[Tensor]] = {order: [] for order in self.out_orders}
        for size, dense in plan.extract(features):
            mapped = self.bins[bin_of(self.bounds, size)](dense, size)
            for order, pieces in results.items():
                pieces.append(mapped[order])
        return {order: plan.insert(order, pieces) for order, pieces in results.items()}

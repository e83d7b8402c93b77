# SPDX-License-Identifier: Apache-2.0
"""One layer: equivariant maps on every ego network, with the weights of its bin, averaged back onto the graph.

All networks of a batch go through the layer together, sorted by size and so by bin: their contractions are one tensor
for each number of blocks that stay, a product with a matrix for each bin, and one embedding.
Reference: Mitton, Murray-Smith, Subgraph permutation equivariant networks, https://arxiv.org/abs/2111.11840.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rankwise.symmetry.spen.bins import checked_bins
from rankwise.symmetry.spen.linear import EquivariantLinear
from rankwise.symmetry.spen.mixed import MixedLinear
from rankwise.symmetry.spen.plan import Plan
from rankwise.symmetry.spen.products import run_products


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
        self.in_orders, self.out_orders = orders

    def forward(self, features: dict[int, Tensor], plan: Plan) -> dict[int, Tensor]:
        """Apply the layer to features [nodes, d_in] of order 1 and [stored pairs, d_in] of order 2."""
        used, lengths = plan.runs(self.bounds)
        results: dict[int, list[Tensor]] = {order: [] for order in self.out_orders}
        for before in self.in_orders:
            contractions = plan.contracted(features[before], before, min(before, max(self.out_orders)))
            for after, found in results.items():
                maps = [self._map(number, before, after) for number in used]
                found.append(plan.embedded(_mapped(contractions, maps, lengths), after))
        return {order: torch.cat(found, dim=-1) / plan.counts[order] for order, found in results.items()}

    def _map(self, number: int, before: int, after: int) -> EquivariantLinear:
        weights = self.bins[number]
        assert isinstance(weights, MixedLinear)
        return weights.map(before, after)


def _mapped(contractions: list[Tensor], maps: list[EquivariantLinear], lengths: list[list[int]]) -> list[Tensor]:
    """The products of the contractions for t = 0, 1, .. with the weights W_t of each bin."""
    weights = [[linear.weights[kept] for linear in maps] for kept in range(len(maps[0].weights))]
    scalars = run_products(contractions[0], lengths[0], weights[0], [linear.bias for linear in maps])
    others = zip(contractions[1:], lengths[1:], weights[1:], strict=False)
    return [scalars, *(run_products(rows, counts, matrices) for rows, counts, matrices in others)]

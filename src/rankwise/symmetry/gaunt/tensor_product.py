# SPDX-License-Identifier: Apache-2.0
r"""The fully connected product: every channel of either input may act on every channel of the output.

    y_w = (1 / sqrt(C)) sum_c W3_cw N_l (sum_u W1_uc x_u / sqrt(U)) * (sum_v W2_vc z_v / sqrt(V))

with one matrix W1, W2, W3 for each block of irreps and * the product of functions on the sphere (with the bracket, if
complete). The weight of the path (u, l1), (v, l2) -> (w, l) is sum_c W1 W2 W3, a sum of C products of three factors:
its span is that of all paths, and with C channels for each pair of input irreps every fully connected Clebsch-Gordan
product is one of these. N_l makes the components of independent inputs of variance one come out with variance one.
Reference: https://arxiv.org/abs/2401.10216 for the product without the bracket.
"""

import math

import torch
from torch import Tensor, nn

from rankwise.errors import SymmetryError
from rankwise.symmetry.gaunt import signals
from rankwise.symmetry.gaunt.irreps import Irreps
from rankwise.symmetry.gaunt.pattern import Pattern
from rankwise.symmetry.gaunt.planner import Choice, plan
from rankwise.symmetry.gaunt.route import Route


class GauntTensorProduct(nn.Module):
    """A fully connected equivariant product with learned weights, in place of `e3nn.o3.FullyConnectedTensorProduct`.

    Args:
        irreps_in1: the first input's irreps, in e3nn's notation.
        irreps_in2: the second input's.
        irreps_out: the output's.
        channels: how many products of functions are taken, C; by default the largest multiplicity that occurs.
        complete: add the spherical Poisson bracket, and with it the antisymmetric paths (cross products).
        route: the way to compute it; by default the planner's choice, which `choice` explains.
        generator: for the initial weights, which are standard normal; by default torch's own, as in e3nn.

    Raises:
        SymmetryError: if the irreps are no irreps, exceed the tables, or an output cannot be reached.

    Example:
        >>> product = GauntTensorProduct("4x0e+4x1o", "0e+1o", "8x0e+8x1o+2x2e")
        >>> product(torch.randn(10, 16), torch.randn(10, 4)).shape
        torch.Size([10, 42])
    """

    def __init__(  # noqa: PLR0913 - three irreps, as in e3nn, and what differs from it
        self,
        irreps_in1: object,
        irreps_in2: object,
        irreps_out: object,
        *,
        channels: int | None = None,
        complete: bool = False,
        route: type[Route] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.irreps_in1, self.irreps_in2, self.irreps_out = map(Irreps.of, (irreps_in1, irreps_in2, irreps_out))
        all_irreps = (self.irreps_in1, self.irreps_in2, self.irreps_out)
        if not all(all_irreps):
            raise SymmetryError(
                f"A product needs irreps on all three sides, got {', '.join(map(repr, map(str, all_irreps)))}."
            )
        self.channels = channels or max(block.mul for irreps in all_irreps for block in irreps)
        if self.channels < 1:
            raise SymmetryError(f"channels is {channels}; it takes at least 1.")
        bracket = signals.bracket_balance(self.irreps_in1, self.irreps_in2) if complete else 0.0
        self.reached = signals.variances(self.irreps_in1, self.irreps_in2, bracket)
        signals.require_reachable(self.irreps_out, self.reached, complete)
        degrees = (self.irreps_in1.degree, self.irreps_in2.degree, self.irreps_out.degree)
        types = (self.irreps_in1.types, self.irreps_in2.types, self.irreps_out.types)
        pattern = Pattern(degrees, types, bracket)
        self.choice = Choice(route, "asked for") if route else plan(pattern, 256 * self.channels)
        self.route = self.choice.route(pattern)
        count = self.channels
        self.weights1 = _normal([(block.mul, count) for block in self.irreps_in1], generator)
        self.weights2 = _normal([(block.mul, count) for block in self.irreps_in2], generator)
        self.weights3 = _normal([(count, block.mul) for block in self.irreps_out], generator)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """The product of tensors [..., irreps_in1.dim] and [..., irreps_in2.dim], whose batch axes broadcast.

        Raises:
            SymmetryError: if a tensor is not of its irreps or dtype.
        """
        batch = signals.batch_of((x1, self.irreps_in1), (x2, self.irreps_in2), self.route.like)
        first = self._mixed(x1.expand(*batch, -1), self.irreps_in1, self.weights1)
        second = self._mixed(x2.expand(*batch, -1), self.irreps_in2, self.weights2)
        product = self.route(first, second)
        columns = signals.split(product, self.irreps_out.types, self.irreps_out.degree, self.channels)
        found = []
        for block, weight in zip(self.irreps_out, self.weights3, strict=True):
            key = (block.type, block.degree)
            scale = 1 / math.sqrt(self.channels * self.reached[key])
            found.append(torch.einsum("rci,cw->rwi", columns[key], weight * scale).flatten(1))
        return torch.cat(found, dim=-1).view(*batch, self.irreps_out.dim)

    def extra_repr(self) -> str:
        """The irreps and the route."""
        return f"{self.irreps_in1} x {self.irreps_in2} -> {self.irreps_out}, {self.channels} channels, {self.choice}"

    def _mixed(self, x: Tensor, irreps: Irreps, weights: nn.ParameterList) -> Tensor:
        found: dict[signals.Key, Tensor] = {}
        muls: dict[signals.Key, int] = {}
        for block in irreps:
            muls[block.type, block.degree] = muls.get((block.type, block.degree), 0) + block.mul
        for (block, part), weight in zip(signals.parts(x.reshape(-1, irreps.dim), irreps), weights, strict=True):
            key = (block.type, block.degree)
            mixed = torch.einsum("rui,uc->rci", part, weight / math.sqrt(muls[key]))
            found[key] = found[key] + mixed if key in found else mixed
        return signals.assembled(found, irreps.types, irreps.degree).flatten(1, 2)


def _normal(shapes: list[tuple[int, int]], generator: torch.Generator | None) -> nn.ParameterList:
    return nn.ParameterList([nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes])

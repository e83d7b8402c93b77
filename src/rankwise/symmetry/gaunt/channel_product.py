# SPDX-License-Identifier: Apache-2.0
r"""Products of functions on the sphere channel by channel, or each channel of one with each of the other.

    y_c[l] = w3_c[l] ((w1_c x_c) * (w2_c z_c))[l]        and        y_uv = x_u * z_v

The product of functions without weights is the sum over (l1, l2) of c(l1, l2, l) times the Clebsch-Gordan coupling: one
copy of each degree where the full Clebsch-Gordan product has one for each path. With the bracket it is the same with
alpha for the odd paths (coefficients.py). Reference: https://arxiv.org/abs/2401.10216.
"""

import torch
from torch import Tensor, nn

from rankwise.errors import SymmetryError
from rankwise.symmetry.gaunt import signals
from rankwise.symmetry.gaunt.irreps import Irreps
from rankwise.symmetry.gaunt.pattern import Pattern
from rankwise.symmetry.gaunt.planner import Choice, plan
from rankwise.symmetry.gaunt.route import Route


class _ChannelProduct(nn.Module):
    """The irreps, the route and the product of signals that both products share."""

    def __init__(
        self, irreps: tuple[object, object, object | None], channels: int, complete: bool, route: type[Route] | None
    ) -> None:
        super().__init__()
        self.irreps_in1, self.irreps_in2 = Irreps.of(irreps[0]), Irreps.of(irreps[1])
        self.channels = channels
        reached = signals.variances(self.irreps_in1, self.irreps_in2, float(complete))
        self.irreps_out = signals.by_degree(reached, channels) if irreps[2] is None else Irreps.of(irreps[2])
        if signals.uniform(self.irreps_out, "irreps_out") != channels:
            raise SymmetryError(f"irreps_out is {self.irreps_out}; this product has {channels} channels of each irrep.")
        signals.require_reachable(self.irreps_out, reached, complete)
        first, second, last = self.irreps_in1, self.irreps_in2, self.irreps_out
        pattern = Pattern(
            (first.degree, second.degree, last.degree), (first.types, second.types, last.types), float(complete)
        )
        self.choice = Choice(route, "asked for") if route else plan(pattern, 256 * channels)
        self.route = self.choice.route(pattern)

    def extra_repr(self) -> str:
        """The irreps and the route."""
        return f"{self.irreps_in1} x {self.irreps_in2} -> {self.irreps_out}, {self.choice}"


class GauntElementwiseProduct(_ChannelProduct):
    """Channel c times channel c: the equivariant feature interaction, in place of `e3nn.o3.ElementwiseTensorProduct`.

    Args:
        irreps_in1: irreps with the same multiplicity throughout, each at most once.
        irreps_in2: likewise, with the same multiplicity, or one of the two with multiplicity 1.
        irreps_out: likewise; by default all that the product reaches.
        weights: learn a number for each irrep and channel of inputs and output, 1 at the start.
        normalize: start the output's weights where independent inputs of variance one give outputs of variance one.
        complete: add the spherical Poisson bracket.
        route: the way to compute it; by default the planner's choice, which `choice` explains.

    Raises:
        SymmetryError: if multiplicities do not fit, the tables are exceeded, or an output cannot be reached.

    Example:
        >>> product = GauntElementwiseProduct("8x0e+8x1o", "8x0e+8x1o", complete=True)
        >>> str(product.irreps_out)
        '8x0e+8x1o+8x1e+8x2e'
    """

    def __init__(  # noqa: PLR0913 - three irreps, as in e3nn, and what differs from it
        self,
        irreps_in1: object,
        irreps_in2: object,
        irreps_out: object | None = None,
        *,
        weights: bool = True,
        normalize: bool = False,
        complete: bool = False,
        route: type[Route] | None = None,
    ) -> None:
        muls = tuple(
            signals.uniform(Irreps.of(irreps), name)
            for irreps, name in ((irreps_in1, "irreps_in1"), (irreps_in2, "irreps_in2"))
        )
        if muls[0] != muls[1] and 1 not in muls:
            raise SymmetryError(
                f"irreps_in1 has {muls[0]} channels and irreps_in2 has {muls[1]}: channel by channel they are as many, "
                "or one of them is a single one. GauntTensorProduct takes any numbers."
            )
        super().__init__((irreps_in1, irreps_in2, irreps_out), max(muls), complete, route)
        self.weights = nn.ParameterList(
            torch.ones(len(irreps), self.channels)
            for irreps in (self.irreps_in1, self.irreps_in2, self.irreps_out)
            if weights
        )
        if normalize:
            self._normalize(complete)

    def _normalize(self, complete: bool) -> None:
        if not len(self.weights):
            raise SymmetryError("normalize sets the weights' start, but weights is False.")
        reached = signals.variances(self.irreps_in1, self.irreps_in2, float(complete))
        scales = [reached[block.type, block.degree] ** -0.5 for block in self.irreps_out]
        with torch.no_grad():
            self.weights[2].mul_(torch.tensor(scales)[:, None])

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """The product of tensors [..., irreps_in1.dim] and [..., irreps_in2.dim], whose batch axes broadcast.

        Raises:
            SymmetryError: if a tensor is not of its irreps or dtype.
        """
        batch = signals.batch_of((x1, self.irreps_in1), (x2, self.irreps_in2), self.route.like)
        weights = list(self.weights) or [None] * 3
        packed = (
            signals.packed(x.expand(*batch, -1).reshape(-1, irreps.dim), irreps, weight)
            for x, irreps, weight in ((x1, self.irreps_in1, weights[0]), (x2, self.irreps_in2, weights[1]))
        )
        first, second = (x.expand(-1, -1, self.channels, -1).flatten(1, 2) for x in packed)
        product = self.route(first, second)
        return signals.flat(product, self.irreps_out, self.channels, weights[2]).view(*batch, -1)


class GauntFullProduct(_ChannelProduct):
    """Every channel times every channel, without weights, in place of `e3nn.o3.FullTensorProduct`.

    Args:
        irreps_in1: irreps with the same multiplicity throughout, each at most once.
        irreps_in2: likewise.
        irreps_out: some of the reached irreps with the product of the multiplicities; by default all of them. Channel
            u of the first and v of the second make channel u * mul2 + v.
        complete: add the spherical Poisson bracket.
        route: the way to compute it; by default the planner's choice, which `choice` explains.

    Raises:
        SymmetryError: if multiplicities do not fit, the tables are exceeded, or an output cannot be reached.

    Example:
        >>> product = GauntFullProduct("0e+1o", "0e+1o")
        >>> product(torch.ones(4), torch.tensor([1.0, 0.0, 0.0, 0.0])).mul(12.566370614359172**0.5)[:4]
        tensor([1.0000, 1.0000, 1.0000, 1.0000])
    """

    def __init__(
        self,
        irreps_in1: object,
        irreps_in2: object,
        irreps_out: object | None = None,
        *,
        complete: bool = False,
        route: type[Route] | None = None,
    ) -> None:
        mul1 = signals.uniform(Irreps.of(irreps_in1), "irreps_in1")
        mul2 = signals.uniform(Irreps.of(irreps_in2), "irreps_in2")
        super().__init__((irreps_in1, irreps_in2, irreps_out), mul1 * mul2, complete, route)
        self.mul1, self.mul2 = mul1, mul2

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """The product of tensors [..., irreps_in1.dim] and [..., irreps_in2.dim], whose batch axes broadcast.

        Raises:
            SymmetryError: if a tensor is not of its irreps or dtype.
        """
        batch = signals.batch_of((x1, self.irreps_in1), (x2, self.irreps_in2), self.route.like)
        first, second = (
            signals.packed(x.expand(*batch, -1).reshape(-1, irreps.dim), irreps, None)
            for x, irreps in ((x1, self.irreps_in1), (x2, self.irreps_in2))
        )
        if self.channels > 1:
            first = first[:, :, :, None].expand(-1, -1, -1, self.mul2, -1).flatten(2, 3)
            second = second[:, :, None].expand(-1, -1, self.mul1, -1, -1).flatten(2, 3)
        product = self.route(first.flatten(1, 2), second.flatten(1, 2))
        return signals.flat(product, self.irreps_out, self.channels, None).view(*batch, -1)

# SPDX-License-Identifier: Apache-2.0
r"""The many-body interaction: powers of a function on the sphere, weighted by order, degree and channel.

    y_c[l] = sum over n = 1..order of w_nc[l] (f_c^n)[l],    f_c = sum_l sum_m x_c,lm Y_lm

f is sampled once, on a grid (or circles) that holds f^order without aliasing, and its powers are powers of the samples:
nothing is cut between the factors. Cutting them would change the result, and so would weights between them, with which
the product is not associative. Reference: https://arxiv.org/abs/2401.10216, section 3.3.
"""

import torch
from torch import Tensor, nn

from rankwise.errors import SymmetryError
from rankwise.symmetry.gaunt import signals
from rankwise.symmetry.gaunt.irreps import Irreps
from rankwise.symmetry.gaunt.pattern import Pattern
from rankwise.symmetry.gaunt.planner import Choice, plan
from rankwise.symmetry.gaunt.route import Route


class GauntManyBody(nn.Module):
    """Powers of a feature up to an order, channel by channel.

    Args:
        irreps_in: irreps of functions (0e, 1o, 2e, ...), each once, all with the same multiplicity.
        irreps_out: likewise, with the same multiplicity.
        order: the largest power.
        weights: learn a number for each order, irrep and channel of the output, 1 at the start; otherwise only the
            power `order` is returned, without weights.
        route: the way to compute it; by default the planner's choice, which `choice` explains.

    Raises:
        SymmetryError: if multiplicities or parities do not fit, or the tables are exceeded.

    Example:
        >>> GauntManyBody("8x0e+8x1o+8x2e", "8x0e+8x1o", order=3)(torch.ones(5, 72)).shape
        torch.Size([5, 32])
    """

    def __init__(
        self,
        irreps_in: object,
        irreps_out: object,
        order: int,
        *,
        weights: bool = True,
        route: type[Route] | None = None,
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out, self.order = Irreps.of(irreps_in), Irreps.of(irreps_out), order
        if order < 1:
            raise SymmetryError(f"order is {order}; powers start at 1.")
        self.channels = signals.uniform(self.irreps_in, "irreps_in")
        if signals.uniform(self.irreps_out, "irreps_out") != self.channels:
            raise SymmetryError(f"irreps_in has {self.channels} channels; irreps_out is {self.irreps_out}.")
        if self.irreps_in.types != (1,) or self.irreps_out.types != (1,):
            raise SymmetryError(
                f"{self.irreps_in} -> {self.irreps_out}: powers are taken of functions, so the parity of degree l is "
                "(-1)^l (0e, 1o, 2e, ...) on both sides."
            )
        degree = self.irreps_in.degree
        if self.irreps_out.degree > order * degree:
            raise SymmetryError(
                f"The power {order} of degree {degree} reaches degree {order * degree}, not {self.irreps_out}."
            )
        pattern = Pattern((degree, degree, self.irreps_out.degree), band=order * degree)
        self.choice = Choice(route, "asked for") if route else plan(pattern, 256 * self.channels)
        self.route = self.choice.route(pattern)
        shape = (order, len(self.irreps_out), self.channels)
        self.weights = nn.Parameter(torch.ones(shape)) if weights else None

    def forward(self, x: Tensor) -> Tensor:
        """[..., irreps_in.dim] to [..., irreps_out.dim].

        Raises:
            SymmetryError: if the tensor is not of its irreps or dtype.
        """
        batch = signals.batch_of((x, self.irreps_in), (x, self.irreps_in), self.route.like)
        rows = signals.packed(x.reshape(-1, self.irreps_in.dim), self.irreps_in, None).flatten(1, 2).squeeze(0)
        values = self.route.sample(rows, 0, False).value
        power, total = values, None
        for number in range(self.order):
            power = self.route.multiply(power, values) if number else values
            if self.weights is not None:
                term = self._expanded(power, self.weights[number])
                total = term if total is None else total + term
        return (self._expanded(power, None) if total is None else total).view(*batch, -1)

    def extra_repr(self) -> str:
        """The irreps, the order and the route."""
        return f"{self.irreps_in} -> {self.irreps_out}, order {self.order}, {self.choice}"

    def _expanded(self, samples: Tensor, weights: Tensor | None) -> Tensor:
        return signals.flat(self.route.expand(samples, 2)[None], self.irreps_out, self.channels, weights)

# SPDX-License-Identifier: Apache-2.0
r"""The equivariant convolution: features times a filter of spherical harmonics of edges.

    y_e = x_e * sum_l h_l(|r_e|) Y_l(r_e / |r_e|)

`GauntConvolution` multiplies as for any two functions. `RotatedConvolution` turns each edge to the polar axis, where
only the orders m = 0 of the filter are left: the filter is one function of theta, every order m of the feature is
multiplied by it alone, and no Fourier transform in phi remains. Both give the same result. The second has no bracket.
Reference: https://arxiv.org/abs/2401.10216; the turning is that of https://arxiv.org/abs/2302.03655.
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankwise.errors import SymmetryError
from rankwise.symmetry.gaunt import signals
from rankwise.symmetry.gaunt.grid import Grid, factors
from rankwise.symmetry.gaunt.harmonics import spherical_harmonics
from rankwise.symmetry.gaunt.irreps import Irreps
from rankwise.symmetry.gaunt.legendre import checked_degree
from rankwise.symmetry.gaunt.pattern import Pattern
from rankwise.symmetry.gaunt.planner import Choice, plan
from rankwise.symmetry.gaunt.rotations import EdgeFrame
from rankwise.symmetry.gaunt.route import Route
from rankwise.symmetry.gaunt.separable import by_order, orders
from rankwise.symmetry.gaunt.tables import Tables


class _Convolution(nn.Module):
    """The irreps of a convolution."""

    def __init__(self, irreps: tuple[object, object], degree: int, complete: bool) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = Irreps.of(irreps[0]), Irreps.of(irreps[1])
        self.degree = checked_degree(degree, "The filter")
        self.channels = signals.uniform(self.irreps_in, "irreps_in")
        if signals.uniform(self.irreps_out, "irreps_out") != self.channels:
            raise SymmetryError(f"irreps_in has {self.channels} channels; irreps_out is {self.irreps_out}.")
        reached = signals.variances(self.irreps_in, Irreps.functions(degree), float(complete))
        signals.require_reachable(self.irreps_out, reached, complete)

    def inputs(self, x: Tensor, vectors: Tensor, radial: Tensor, like: Tensor) -> Tensor:
        """Check the three inputs and return the signals [types, edges, channels, harmonics].

        Raises:
            SymmetryError: if one does not fit the irreps, the degree or the others.
        """
        signals.batch_of((x, self.irreps_in), (x, self.irreps_in), like)
        edges = x.shape[:1]
        wanted = ((*edges, self.degree + 1), (*edges, self.channels, self.degree + 1))
        if x.ndim != 2 or vectors.shape != (*edges, 3) or radial.shape not in wanted:
            raise SymmetryError(
                f"A convolution takes x [edges, {self.irreps_in.dim}], vectors [edges, 3] and radial weights [edges, "
                f"{self.degree + 1}] or [edges, {self.channels}, {self.degree + 1}]; got {tuple(x.shape)}, "
                f"{tuple(vectors.shape)} and {tuple(radial.shape)}."
            )
        return signals.packed(x, self.irreps_in, None)

    def extra_repr(self) -> str:
        """The irreps and the filter's degree."""
        return f"{self.irreps_in} -> {self.irreps_out}, filter of degree {self.degree}"


class GauntConvolution(_Convolution):
    """A convolution with a filter of spherical harmonics, by the product of functions.

    Args:
        irreps_in: the features' irreps, each once, all with the same multiplicity.
        irreps_out: likewise, with the same multiplicity.
        degree: the filter's largest l.
        complete: add the spherical Poisson bracket.
        route: the way to compute it; by default the planner's choice, which `choice` explains.

    Raises:
        SymmetryError: if multiplicities do not fit, the tables are exceeded, or an output cannot be reached.
    """

    def __init__(
        self,
        irreps_in: object,
        irreps_out: object,
        degree: int,
        *,
        complete: bool = False,
        route: type[Route] | None = None,
    ) -> None:
        super().__init__((irreps_in, irreps_out), degree, complete)
        degrees = (self.irreps_in.degree, degree, self.irreps_out.degree)
        pattern = Pattern(degrees, (self.irreps_in.types, (1,), self.irreps_out.types), float(complete))
        self.choice = Choice(route, "asked for") if route else plan(pattern, 256 * self.channels)
        self.route = self.choice.route(pattern)
        by_harmonic = torch.tensor([ell for ell in range(degree + 1) for _ in range(2 * ell + 1)])
        self.by_harmonic: Tensor
        self.register_buffer("by_harmonic", by_harmonic, persistent=False)

    def forward(
        self, x: Float[Tensor, "edges features"], vectors: Float[Tensor, "edges 3"], radial: Tensor
    ) -> Float[Tensor, "edges outputs"]:
        """Convolve the features at the ends of edges.

        Args:
            x: features.
            vectors: the edges, of any length but zero.
            radial: h_l, [edges, degree + 1] or [edges, channels, degree + 1].

        Raises:
            SymmetryError: if shapes do not fit or a vector has no direction.
        """
        first = self.inputs(x, vectors, radial, self.route.like)
        harmonics = spherical_harmonics(self.degree, vectors)[:, None]
        radial = radial if radial.ndim == 3 else radial[:, None]
        second = (harmonics * radial.index_select(-1, self.by_harmonic)).expand(-1, self.channels, -1)
        product = self.route(first.flatten(1, 2), second.reshape(1, -1, second.shape[-1]))
        return signals.flat(product, self.irreps_out, self.channels, None)


class RotatedConvolution(_Convolution):
    """A convolution with a filter of spherical harmonics, with each edge turned to the polar axis.

    Args:
        irreps_in: the features' irreps, each once, all with the same multiplicity.
        irreps_out: likewise, with the same multiplicity.
        degree: the filter's largest l.

    Raises:
        SymmetryError: if multiplicities do not fit, the tables are exceeded, or an output cannot be reached.
    """

    def __init__(self, irreps_in: object, irreps_out: object, degree: int) -> None:
        super().__init__((irreps_in, irreps_out), degree, False)
        self.route = _PolarProduct(self.irreps_in.degree, degree, self.irreps_out.degree)
        self.frame = EdgeFrame(max(self.irreps_in.degree, self.irreps_out.degree))

    def forward(
        self, x: Float[Tensor, "edges features"], vectors: Float[Tensor, "edges 3"], radial: Tensor
    ) -> Float[Tensor, "edges outputs"]:
        """Convolve the features at the ends of edges; arguments and errors as in `GauntConvolution`."""
        signal = self.inputs(x, vectors, radial, self.route.like)
        angles = self.frame.angles(vectors)
        radial = (radial if radial.ndim == 3 else radial[:, None]).expand(-1, self.channels, -1)
        found = []
        for sign in self.irreps_out.types:
            turned = self.frame.to_pole(signal[self.irreps_in.types.index(sign)], angles)
            found.append(self.frame.from_pole(self.route(turned, radial), angles).flatten(0, 1))
        return signals.flat(torch.stack(found), self.irreps_out, self.channels, None)


class _PolarProduct(Tables):
    """The product with a function of theta alone: for each order m rings, a pointwise product, and back."""

    def __init__(self, degree1: int, degree2: int, degree: int) -> None:
        super().__init__()
        self.degrees = degree1, degree2, degree
        self.fill()

    def tables(self) -> dict[str, np.ndarray]:
        """Legendre matrices of the three degrees on the rings of an exact grid, and the orders of the harmonics."""
        grid = Grid(Grid.exact(sum(self.degrees)).thetas, 1)
        first, second, last = (factors(degree, grid)[0].theta for degree in self.degrees)
        poles = [math.sqrt((2 * ell + 1) / (4 * math.pi)) for ell in range(len(second))]
        return {
            "filter": second[:, 0].T * poles,
            "rings": by_order(first),
            "back": by_order(last * grid.rings()[2]).transpose(0, 2, 1),
            "by_order": orders(self.degrees[0])[0],
            "by_degree": orders(self.degrees[2])[2],
        }

    def forward(self, x: Tensor, radial: Tensor) -> Tensor:
        """[edges, channels, harmonics] times the filter of [edges, channels, degree2 + 1]."""
        degree1, _, degree = self.degrees
        rows = x.flatten(0, 1)
        moved = rows.mT.index_select(0, self.table("by_order")).unflatten(0, (-1, degree1 + 1))
        on_rings = torch.bmm(self.table("rings"), moved) * (self.table("filter") @ radial.flatten(0, 1).mT)
        kept = min(degree, degree1) + 1
        on_rings = on_rings.unflatten(0, (2, -1))[:, :kept]
        missing = (0, 0, 0, 0, 0, degree + 1 - kept)
        on_rings = nn.functional.pad(on_rings, missing).flatten(0, 1)
        found = torch.bmm(self.table("back"), on_rings).flatten(0, 1)
        return found.index_select(0, self.table("by_degree")).mT.unflatten(0, x.shape[:2])

# SPDX-License-Identifier: Apache-2.0
r"""How rotations act on coefficients: matrices for fixed rotations, and turning each row's edge to the polar axis.

    Y(R r) = D(R) Y(r),        D(R) = integral of Y(R r) Y(r)^T

About the polar axis y, D turns the pairs (m, -m) by m times the angle. About x it is the same between two fixed
matrices, those of a rotation that takes x to y, so an edge with angles theta and phi is turned to the pole by

    D = D(Q)^T Z(theta) D(Q) Z(phi)

at O(L^3) a row. Angles are singular at the poles, so edges near one are first turned away by a fixed rotation, and
gradients of every order exist for every edge. Reference for turning edges: https://arxiv.org/abs/2302.03655.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rankwise.errors import SymmetryError
from rankwise.symmetry.gaunt.grid import Grid, factors, on_points
from rankwise.symmetry.gaunt.harmonics import directions, spherical_harmonics
from rankwise.symmetry.gaunt.legendre import Array, checked_degree
from rankwise.symmetry.gaunt.tables import Tables

_NEAR_POLE = 0.9
_CYCLE = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # x to y, y to z, z to x


def rotation_matrix(degree: int, rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "harmonics harmonics"]:
    """D with Y(R r) = D Y(r) for the harmonics up to a degree, in float64.

    Args:
        degree: the largest l.
        rotation: R; an improper one (with a reflection) acts as it does on true functions.

    Raises:
        SymmetryError: if R is not orthogonal or the degree is above the table.
    """
    checked_degree(degree, "rotation_matrix")
    r = rotation.detach().to("cpu", torch.float64)
    if r.shape != (3, 3) or not torch.allclose(r @ r.T, torch.eye(3, dtype=r.dtype), atol=1e-5):
        raise SymmetryError(f"A rotation is an orthogonal 3 x 3 matrix, got {rotation.tolist()}.")
    points, weighted = _points(degree)
    return spherical_harmonics(degree, torch.as_tensor(points) @ r.T).T @ torch.as_tensor(weighted)


@lru_cache(maxsize=16)
def _points(degree: int) -> tuple[Array, Array]:
    """The directions of an exact grid and the weighted harmonics at them."""
    grid = Grid.exact(2 * degree)
    cosine, sine, weights = grid.rings()
    phi = 2 * math.pi * np.arange(grid.phis) / grid.phis
    along = np.broadcast_to(cosine[:, None], (grid.thetas, grid.phis))
    points = np.stack([np.outer(sine, np.sin(phi)), along, np.outer(sine, np.cos(phi))], axis=-1)
    return points.reshape(-1, 3), (on_points(factors(degree, grid)[0]) * np.repeat(weights, grid.phis)).T


@dataclass(frozen=True)
class Angles:
    """The angles of edges, as cosines and sines of their multiples.

    Args:
        near: the rows that are turned away from the pole first.
        phi: cos(m phi) and sin(m phi) for each harmonic.
        theta: likewise.
    """

    near: Tensor
    phi: tuple[Tensor, Tensor]
    theta: tuple[Tensor, Tensor]


class EdgeFrame(Tables):
    """Turns coefficients so that each row's edge points along the polar axis, and back.

    Args:
        degree: the largest l that is turned.
    """

    def __init__(self, degree: int) -> None:
        super().__init__()
        self.degree = degree
        self.fill()

    def tables(self) -> dict[str, np.ndarray]:
        """A rotation that takes x to y, how it acts, and the order m and the place of -m for each harmonic."""
        orders = np.array([m for ell in range(self.degree + 1) for m in range(-ell, ell + 1)])
        return {
            "cycle": _CYCLE,
            "turn": rotation_matrix(self.degree, torch.as_tensor(_CYCLE)).numpy(),
            "order": orders,
            "mirror": np.arange(len(orders)) - 2 * orders,
        }

    def angles(self, vectors: Float[Tensor, "rows 3"]) -> Angles:
        """What turns the edges, to be used for both ways.

        Raises:
            SymmetryError: if a vector has no direction.
        """
        unit = directions(vectors)
        near = unit[:, 1:2].abs() > _NEAR_POLE
        x, y, z = torch.where(near, unit @ self.table("cycle").T, unit).unbind(-1)
        across = (x * x + z * z).sqrt()
        return Angles(near[:, None], self._waves(z / across, x / across), self._waves(y, across))

    def to_pole(self, x: Float[Tensor, "rows channels harmonics"], angles: Angles) -> Tensor:
        """Coefficients seen from the frame in which the edge is the polar axis."""
        x = torch.where(angles.near, self._turned(x, False), x)
        x = self._turned(self._about_pole(x, angles.phi, 1), False)
        return self._turned(self._about_pole(x, angles.theta, 1), True)

    def from_pole(self, x: Float[Tensor, "rows channels harmonics"], angles: Angles) -> Tensor:
        """The reverse of `to_pole`."""
        x = self._turned(self._about_pole(self._turned(x, False), angles.theta, -1), True)
        x = self._about_pole(x, angles.phi, -1)
        return torch.where(angles.near, self._turned(x, True), x)

    def _waves(self, cosine: Tensor, sine: Tensor) -> tuple[Tensor, Tensor]:
        """cos(m t) and sin(m t) for each harmonic's m."""
        waves = [(torch.ones_like(cosine), torch.zeros_like(sine))]
        for _ in range(self.degree):
            c, s = waves[-1]
            waves.append((c * cosine - s * sine, s * cosine + c * sine))
        cosines, sines = (torch.stack(part, dim=-1) for part in zip(*waves, strict=True))
        order = self.table("order")
        return cosines[:, order.abs()][:, None], (sines[:, order.abs()] * order.sign())[:, None]

    def _about_pole(self, x: Tensor, waves: tuple[Tensor, Tensor], sense: int) -> Tensor:
        size = x.shape[-1]
        other = x.index_select(-1, self.table("mirror")[:size])
        return x * waves[0][..., :size] + sense * other * waves[1][..., :size]

    def _turned(self, x: Tensor, back: bool) -> Tensor:
        turn = self.table("turn")
        blocks = (slice(ell * ell, (ell + 1) ** 2) for ell in range(math.isqrt(x.shape[-1])))
        return torch.cat(
            [x[..., block] @ (turn[block, block] if back else turn[block, block].T) for block in blocks], -1
        )

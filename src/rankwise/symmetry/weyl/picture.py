# SPDX-License-Identifier: Apache-2.0
"""Where the points of a hull lie in a picture.

A finite type has an invariant positive definite form, so simple roots are drawn with their true lengths and angles and
the origin is the fixed point of the Weyl group. Any other type is drawn in root coordinates: simple roots are the axes,
the highest weight is the origin, and lengths and angles mean nothing. Numbers are floats here, for the eye only.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from rankwise.symmetry.weyl.highest_weight import HighestWeight
from rankwise.symmetry.weyl.roots import Vector


class Placement:
    """Coordinates in the plane or in space of the points and directions of a hull.

    Args:
        module: whose hull is drawn.
    """

    def __init__(self, module: HighestWeight) -> None:
        rank = module.cartan.rank
        self.true = module.cartan.is_finite
        self.roots, self.origin = np.eye(rank), np.zeros(rank)
        if self.true:
            scale = np.array(module.cartan.symmetrizer, dtype=float)
            self.roots = np.linalg.cholesky(scale[:, None] * np.array(module.cartan.rows, dtype=float))
            self.origin = np.linalg.solve(self.roots, scale * np.array([float(label) for label in module.lam]))

    def points(self, drops: Iterable[Vector]) -> NDArray[np.float64]:
        """The points lam - sum c_i alpha_i, one row for each c."""
        return self.origin + self.directions(drops)

    def directions(self, drops: Iterable[Vector]) -> NDArray[np.float64]:
        """The directions -sum d_i alpha_i, one row for each d."""
        return -np.array(list(drops), dtype=float).reshape(-1, len(self.origin)) @ self.roots

    def spanned(self, points: NDArray[np.float64], rays: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
        """The points, and every point moved along every ray by a length, so that a face without end can be drawn."""
        if not len(rays):
            return points
        steps = reach * rays / np.linalg.norm(rays, axis=1, keepdims=True)
        return np.concatenate([points, (points[:, None] + steps).reshape(-1, points.shape[1])])

# SPDX-License-Identifier: Apache-2.0
"""The grid route as three matrix products: harmonics at all points of the sphere grid, and back.

Each row costs 2 P (N1 + N2 + N3) operations with P = n_theta n_phi points and N = (L+1)^2 harmonics, O(L^4), all of it
in large matrix products: the fastest way for small L. Reference for the grid: https://arxiv.org/abs/2506.13523.
"""

from typing import ClassVar

import numpy as np
from torch import Tensor

from rankwise.symmetry.gaunt.grid import Grid, factors, on_points
from rankwise.symmetry.gaunt.pattern import Samples
from rankwise.symmetry.gaunt.route import Route


class DenseGrid(Route):
    """Products on the sphere grid by dense matrices; see `Route`."""

    name: ClassVar[str] = "dense grid"

    def tables(self) -> dict[str, np.ndarray]:
        """For each input the harmonics and their slopes at the points, for the output the weighted ones."""
        grid = Grid.exact(self.pattern.total)
        weights = np.repeat(grid.rings()[2], grid.phis)
        found = {"back2": (on_points(factors(self.pattern.degrees[2], grid)[0]) * weights).T.copy()}
        for role in (0, 1):
            parts = factors(self.pattern.degrees[role], grid)
            for kind, part in zip(
                ("value", "theta", "phi"), parts if self.pattern.bracket else parts[:1], strict=False
            ):
                found[f"{kind}{role}"] = on_points(part)
        return found

    def sample(self, x: Tensor, role: int, gradient: bool) -> Samples:
        """[rows, points]."""
        kinds = ("value", "theta", "phi") if gradient else ("value",)
        return Samples(*(x @ self.table(f"{kind}{role}") for kind in kinds))

    def expand(self, samples: Tensor, role: int) -> Tensor:
        """One matrix product with the weighted harmonics."""
        return samples @ self.table(f"back{role}")

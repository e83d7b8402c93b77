# SPDX-License-Identifier: Apache-2.0
"""Weight multiplicities of an integrable module of finite type, by Freudenthal's formula.

With mu = lam - sum c_i alpha_i and the invariant form (alpha_i, alpha_j) = d_i A_ij,

    (2 (lam + rho, c) - (c, c)) m(mu) = 2 sum over roots alpha > 0 and k >= 1 of (mu + k alpha, alpha) m(mu + k alpha),

from the highest weight downwards, for dominant mu only; other weights have the multiplicity of the dominant weight of
their orbit. All numbers are integers. Reference: Humphreys, Introduction to Lie algebras and representation theory,
22.3. Affine and other infinite types are not computed: their imaginary roots have multiplicities of their own.
"""

from fractions import Fraction
from functools import cached_property
from math import prod

from rankwise.errors import CapacityError
from rankwise.symmetry.weyl.roots import Vector
from rankwise.symmetry.weyl.weights import Weights

_MOST, _MOST_DOMINANT = 1_000_000, 100_000


class Freudenthal:
    """The multiplicities of L(lam), lam dominant and of finite type.

    Args:
        weights: of the module.
    """

    def __init__(self, weights: Weights) -> None:
        self.weights, self.matrix, self.lam = weights, weights.matrix, weights.lam
        self.roots = weights.system.cartan.positive_roots()
        self.scale = weights.system.cartan.symmetrizer

    def dimension(self) -> int:
        """The dimension of the module, by Weyl's formula."""
        shifted = [label + 1 for label in self.lam]
        ones = [1] * len(self.lam)
        return int(prod(Fraction(self._paired(shifted, root), self._paired(ones, root)) for root in self.roots))

    def dominant(self) -> dict[Vector, int]:
        """The multiplicities of the dominant weights, highest first."""
        found: dict[Vector, int] = {}
        for point in self._points:
            found[point] = self._multiplicity(point, found) if any(point) else 1
        return found

    def all(self) -> dict[Vector, int]:
        """The multiplicities of all weights.

        Raises:
            CapacityError: if there are more than a million weights; the message says how many.
        """
        system, total = self.weights.system, 0
        labels = {point: [self.weights.label(i, point) for i in range(len(self.lam))] for point in self._points}
        for parts in labels.values():
            total += int(system.index(sum(1 << i for i, label in enumerate(parts) if not label)))
        if total > _MOST:
            raise CapacityError(f"There are {total:,} weights, more than {_MOST:,}; ask for the dominant ones only.")
        return {
            tuple(part + drop for part, drop in zip(point, member.drop, strict=True)): multiplicity
            for point, multiplicity in self.dominant().items()
            for member in system.reflections.orbit(labels[point])
        }

    @cached_property
    def _points(self) -> list[Vector]:
        """Every dominant weight, by height: above each but lam stands one that differs from it by a positive root."""
        points = [(0,) * len(self.lam)]
        seen = set(points)
        for point in points:  # grows while it is read
            for root in self.roots:
                lower = tuple(part + step for part, step in zip(point, root, strict=True))
                if lower not in seen and all(self.weights.label(i, lower) >= 0 for i in range(len(lower))):
                    seen.add(lower)
                    points.append(lower)
            if len(points) > _MOST_DOMINANT:
                raise CapacityError(f"There are more than {_MOST_DOMINANT:,} dominant weights; take a smaller lam.")
        return sorted(points, key=sum)

    def _multiplicity(self, point: Vector, known: dict[Vector, int]) -> int:
        total = 0
        for root in self.roots:
            above = tuple(part - step for part, step in zip(point, root, strict=True))
            while min(above) >= 0:
                raised = self.weights.dominant(above)
                multiplicity = known.get(raised, 0) if raised is not None else 0
                if not multiplicity:
                    break  # a string of weights in the direction of a root has no holes
                labels = [self.weights.label(i, above) for i in range(len(above))]
                total += self._paired(labels, root) * multiplicity
                above = tuple(part - step for part, step in zip(above, root, strict=True))
        shifted = [label + 1 for label in self.lam]
        images = [sum(entry * part for entry, part in zip(row, point, strict=True)) for row in self.matrix]
        gap = 2 * self._paired(shifted, point) - self._paired(images, point)
        multiplicity, rest = divmod(2 * total, gap)
        assert not rest, "Freudenthal's quotient is an integer"
        return multiplicity

    def _paired(self, labels: list[int], root: Vector) -> int:
        """(x, sum root_i alpha_i) of the weight x with these labels."""
        return sum(size * part * label for size, part, label in zip(self.scale, root, labels, strict=True))

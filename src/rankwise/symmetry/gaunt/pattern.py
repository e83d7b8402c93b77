# SPDX-License-Identifier: Apache-2.0
r"""Which signals on the sphere multiply to which: the product for some types, the Poisson bracket for the others.

A signal of type +1 is a true function, one of type -1 changes sign under inversion as well. The product of types s1 and
s2 has type s1 s2; the bracket {f, g} = rhat . (grad f x grad g) has type -s1 s2, because a cross product does not
change sign under inversion and rhat does. As trilinear forms,

    T(f, g, h) = sum over s1 s2 s3 = +1 of integral f g h  +  k * sum over s1 s2 s3 = -1 of integral {f, g} h

both terms keep their value when f, g, h are rotated cyclically (the bracket by partial integration), so the gradients
of a product are products of the same kind: that of T by f is the product of g and h.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from rankwise.symmetry.gaunt.legendre import checked_degree

Types = tuple[int, ...]
Multiply = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Samples:
    """One signal at the points of a grid.

    Args:
        value: f.
        theta: df/dtheta, None where no bracket reads it.
        phi: (1 / sin theta) df/dphi, likewise.
    """

    value: Tensor
    theta: Tensor | None = None
    phi: Tensor | None = None

    def bracket(self, other: "Samples", multiply: Multiply) -> Tensor:
        """{f, g} at the points."""
        assert self.theta is not None and self.phi is not None and other.theta is not None and other.phi is not None
        return multiply(self.theta, other.phi) - multiply(self.phi, other.theta)


@dataclass(frozen=True)
class Pattern:
    """The degrees and types of two inputs and an output.

    Args:
        degrees: L1, L2 and Lout.
        types: the types of the signals of each, such as (1,) or (1, -1).
        bracket: the factor k of the brackets, 0 to leave them out.
        band: the degree of the product before it is cut to Lout, L1 + L2 unless more functions are multiplied.

    Raises:
        SymmetryError: if a degree is above the table.
    """

    degrees: tuple[int, int, int]
    types: tuple[Types, Types, Types] = ((1,), (1,), (1,))
    bracket: float = 0.0
    band: int = 0

    def __post_init__(self) -> None:
        for degree, what in zip(self.degrees, ("The first input", "The second input", "The output"), strict=True):
            checked_degree(degree, what)
        object.__setattr__(self, "band", max(self.band, sum(self.degrees[:2])))
        checked_degree(self.band, "The product")

    @property
    def total(self) -> int:
        """The sum of the degrees under an integral, which sizes the grid."""
        return self.band + self.degrees[2]

    def combine(
        self, x: Sequence[Samples], y: Sequence[Samples], roles: tuple[int, int, int], multiply: Multiply
    ) -> list[Tensor]:
        """The samples of the signals in the last role, from those in the first two.

        Args:
            x: the signals of role `roles[0]`.
            y: the signals of role `roles[1]`.
            roles: (0, 1, 2) or a cyclic rotation of it.
            multiply: the product of two sampled functions, in the layout they are sampled in.

        Returns:
            One tensor for each type of the last role. A type that nothing reaches is zero.
        """
        found: list[Tensor | None] = [None] * len(self.types[roles[2]])
        for f, first in zip(x, self.types[roles[0]], strict=True):
            for g, second in zip(y, self.types[roles[1]], strict=True):
                for place, goal in enumerate(self.types[roles[2]]):
                    if first * second == goal:
                        term = multiply(f.value, g.value)
                    elif self.bracket:
                        term = self.bracket * f.bracket(g, multiply)
                    else:
                        continue
                    before = found[place]
                    found[place] = term if before is None else before + term
        return [multiply(x[0].value, y[0].value) * 0 if total is None else total for total in found]

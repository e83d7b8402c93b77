# SPDX-License-Identifier: Apache-2.0
"""What a way of multiplying signals on the sphere owes: to sample, and to expand what was sampled.

    product(x, y) = expand(combine(sample(x), sample(y)))

`combine` (pattern.py) is pointwise and the same for all.
"""

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from rankwise.symmetry.gaunt.pattern import Pattern, Samples
from rankwise.symmetry.gaunt.tables import Tables


class Route(Tables):
    """One way of computing the products of a pattern, exactly.

    Args:
        pattern: degrees and types.
    """

    name: ClassVar[str]
    only: ClassVar[str | None] = None
    """The one type of device on which it is a way of its own, if it is not one on all."""

    def __init__(self, pattern: Pattern) -> None:
        super().__init__()
        self.pattern = pattern
        self.fill()

    @abstractmethod
    def sample(self, x: Float[Tensor, "rows harmonics"], role: int, gradient: bool) -> Samples:
        """A signal at the grid's points, laid out as the route likes best."""

    @abstractmethod
    def expand(self, samples: Tensor, role: int) -> Float[Tensor, "rows harmonics"]:
        """The coefficients of a sampled signal up to the degree of a role."""

    def multiply(self, f: Tensor, g: Tensor) -> Tensor:
        """The product of two sampled functions."""
        return f * g

    def forward(
        self, x: Float[Tensor, "types1 rows harmonics1"], y: Float[Tensor, "types2 rows harmonics2"]
    ) -> Float[Tensor, "types rows harmonics"]:
        """The products row by row."""
        return self.multiplied(x, y, (0, 1, 2))

    def multiplied(self, x: Tensor, y: Tensor, roles: tuple[int, int, int]) -> Tensor:
        """The product of signals in the first two roles, in the third."""
        gradient = bool(self.pattern.bracket)
        first = [self.sample(signal, roles[0], gradient) for signal in x.unbind()]
        second = [self.sample(signal, roles[1], gradient) for signal in y.unbind()]
        combined = self.pattern.combine(first, second, roles, self.multiply)
        found = [self.expand(samples, roles[2]) for samples in combined]
        return torch.stack(found) if len(found) > 1 else found[0][None]

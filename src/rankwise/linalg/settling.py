# SPDX-License-Identifier: Apache-2.0
"""Principal directions of rows that come batch by batch, and whether more rows still turn them.

Two looks are compared. `IncrementalDirections` looks after every batch and asks each direction for itself,
cos(C_j before, C_j now) >= tau (EVA, arXiv 2410.07170); directions of nearly equal variance may swap for ever.
`GramDirections` looks after 8, 16, 32, ... batches and asks the space that the directions span: the smallest cosine of
a principal angle, which a swap inside the space leaves at 1.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from rankwise.linalg.incremental_pca import GramPCA, IncrementalPCA, PrincipalComponents

_FIRST_LOOK = 8  # batches after which a Gram matrix is first decomposed, then at every doubling


class Directions(ABC):
    """Principal directions now and at the look before.

    Args:
        count: how many.

    Attributes:
        once: whether repeated batches change nothing.
        before: the components at the look before the last, None before there were two.
        now: the components at the last look, None before the first.
    """

    once = False

    def __init__(self, count: int) -> None:
        self.count = count
        self.before: PrincipalComponents | None = None
        self.now: PrincipalComponents | None = None

    @abstractmethod
    def update(self, rows: Float[Tensor, "rows in"]) -> None:
        """Take more rows."""

    def settled(self, rank: int, tau: float) -> bool:
        """Whether the first `rank` directions stayed from one look to the next, up to the cosine `tau`."""
        if self.before is None or self.now is None:
            return False
        cosines = self.before.directions[:rank] @ self.now.directions[:rank].t()
        return bool((self._kept(cosines) >= tau).all())

    def finish(self) -> bool:
        """Take in what came after the last look; whether there were rows enough for one."""
        return self.now is not None

    @abstractmethod
    def _kept(self, cosines: Float[Tensor, "rank rank"]) -> Float[Tensor, " rank"]: ...

    def _look(self, found: PrincipalComponents) -> None:
        self.before, self.now = self.now, found


class IncrementalDirections(Directions):
    """Components that every batch updates; a batch with fewer rows than components is skipped.

    Args:
        count: how many.
        center: whether to subtract the mean.
        generator: for randomized decompositions.
    """

    def __init__(self, count: int, *, center: bool, generator: torch.Generator | None) -> None:
        super().__init__(count)
        self.pca = IncrementalPCA(count, center=center, generator=generator)

    def update(self, rows: Float[Tensor, "rows in"]) -> None:
        """Take a batch of rows, if it is large enough."""
        if len(rows) >= self.count:
            self.pca.update(rows)
            self._look(self.pca.components())

    def _kept(self, cosines: Float[Tensor, "rank rank"]) -> Float[Tensor, " rank"]:
        return cosines.diagonal()


class GramDirections(Directions):
    """Components of the Gram matrix of all rows.

    Args:
        count: how many.
        center: whether to subtract the mean.
    """

    once = True

    def __init__(self, count: int, *, center: bool) -> None:
        super().__init__(count)
        self.pca, self.updates = GramPCA(center=center), 0

    def update(self, rows: Float[Tensor, "rows in"]) -> None:
        """Take more rows; at times, look."""
        self.pca.update(rows)
        self.updates += 1
        if self.updates >= _FIRST_LOOK and self.updates.bit_count() == 1 and self.pca.rows >= self.count:
            self._look(self.pca.components(self.count))

    def finish(self) -> bool:
        """Look at what came after the last look; whether there were rows enough."""
        if self.pca.rows < self.count:
            return False
        if self.now is None or self.now.rows < self.pca.rows:
            self._look(self.pca.components(self.count))
        return True

    def _kept(self, cosines: Float[Tensor, "rank rank"]) -> Float[Tensor, " rank"]:
        return torch.linalg.svdvals(cosines)

# SPDX-License-Identifier: Apache-2.0
"""Principal components of rows that come batch by batch and are not kept.

`IncrementalPCA` keeps m components C, singular values S and the mean mu, and after n rows takes b more, X with mean mb:

    svd of  [ diag(S) C ;  X - mb ;  sqrt(n b / (n + b)) (mu - mb) ]  =  (u, s, v),    C <- v[:m],  S <- s[:m],

which is exact as long as nothing is cut off (m = in) and an approximation that depends on the order of the rows
otherwise (Ross et al. 2008, the form that scikit-learn and PEFT use). `GramPCA` adds up the Gram matrix of all rows,
[in, in], and decomposes it once: exact and independent of the order, at in^2 numbers of memory. Without centering, mu
and mb are zero in both. Signs: the largest entry of each direction, by absolute value, is positive.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rankwise.linalg.krylov import leading_eigenvectors
from rankwise.linalg.randomized_svd import randomized_svd
from rankwise.linalg.svd import svd, wide


@dataclass(frozen=True)
class PrincipalComponents:
    """The leading principal directions of some rows.

    Attributes:
        directions: orthonormal, in descending order of variance.
        singular_values: of the (centered) matrix of all rows.
        rows: how many rows there were.
        variance: the sum of the (biased) variances of all features, a float64 number.
    """

    directions: Float[Tensor, "m in"]
    singular_values: Float[Tensor, " m"]
    rows: int
    variance: Tensor

    @property
    def explained_variance(self) -> Float[Tensor, " m"]:
        """The (unbiased) variance along each direction, s^2 / (rows - 1)."""
        return self.singular_values.square() / max(self.rows - 1, 1)

    @property
    def explained_variance_ratio(self) -> Float[Tensor, " m"]:
        """The share of each direction in the total variance, zero if there is none."""
        total = self.variance * self.rows
        shares = self.singular_values.to(total).square() / total
        return shares if bool(total > 0) else torch.zeros_like(shares)


class IncrementalPCA:
    """The m leading components, updated by one small decomposition for each batch.

    Args:
        count: m.
        center: whether to subtract the mean.
        generator: for a randomized decomposition instead of a full one; None for the full one.
    """

    def __init__(self, count: int, *, center: bool = True, generator: torch.Generator | None = None) -> None:
        self.count, self.center, self.generator = count, center, generator
        self.rows = 0
        self.directions = self.singular_values = self.mean = self.variance = torch.zeros(())

    def update(self, batch: Float[Tensor, "rows in"]) -> None:
        """Take more rows.

        Raises:
            ValueError: if there are fewer rows or features than components.
        """
        if min(batch.shape) < self.count:
            raise ValueError(f"{self.count} components need as many rows and features, got {list(batch.shape)}.")
        batch, more = batch.to(wide(batch.dtype)), len(batch)
        mean = batch.double().mean(0) if self.center else batch.new_zeros(batch.shape[1], dtype=torch.float64)
        spread = (batch.double() - mean).square().mean(0)
        matrix, total = batch - mean.to(batch.dtype), self.rows + more
        if self.rows:
            step = (self.rows * more / total) ** 0.5 * (self.mean - mean)
            matrix = torch.cat([self.singular_values[:, None] * self.directions, matrix, step.to(batch.dtype)[None]])
            between = self.rows * more / total * (self.mean - mean).square()
            spread = (self.rows * self.variance + more * spread + between) / total
            mean = (self.rows * self.mean + more * mean) / total
        _, values, directions = self._decomposed(matrix)
        self.directions, self.singular_values = _signed(directions), values
        self.mean, self.variance, self.rows = mean, spread, total

    def components(self) -> PrincipalComponents:
        """What the rows so far give."""
        return PrincipalComponents(self.directions, self.singular_values, self.rows, self.variance.sum())

    def _decomposed(self, matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.generator is None:
            return svd(matrix, self.count)
        return randomized_svd(matrix, self.count, self.generator)


class GramPCA:
    """The Gram matrix of all rows, of which any number of components can be asked.

    Products run in the dtype of the rows and are added up in float64, after subtracting the first batch's mean, so that
    a mean far larger than the deviations costs no digits.

    Args:
        center: whether to subtract the mean.
    """

    def __init__(self, *, center: bool = True) -> None:
        self.center, self.rows = center, 0
        self.shift = self.gram = self.sum = torch.zeros(())

    def update(self, batch: Float[Tensor, "rows in"]) -> None:
        """Take more rows; none at all changes nothing."""
        if not len(batch):
            return
        batch = batch.to(wide(batch.dtype))
        if not self.rows:
            self.shift = batch.mean(0) if self.center else torch.zeros_like(batch[0])
            self.gram = batch.new_zeros(batch.shape[1], batch.shape[1], dtype=torch.float64)
            self.sum = batch.new_zeros(batch.shape[1], dtype=torch.float64)
        shifted = batch - self.shift if self.center else batch
        self.gram += shifted.t() @ shifted
        self.sum += shifted.sum(0, dtype=torch.float64)
        self.rows += len(batch)

    def components(self, count: int) -> PrincipalComponents:
        """The `count` leading components of the rows so far.

        Raises:
            ValueError: if there are fewer rows or features than components.
        """
        if min(self.rows, *self.gram.shape) < count:
            raise ValueError(f"{count} components need as many rows and features, got {self.rows}, {self.gram.shape}.")
        scatter = self.gram - self.sum.outer(self.sum) / self.rows if self.center else self.gram
        values, directions = leading_eigenvectors(scatter, count)
        total = scatter.diagonal().sum().clamp(min=0) / self.rows
        return PrincipalComponents(_signed(directions), values.clamp(min=0).sqrt(), self.rows, total)


def _signed(directions: Float[Tensor, "m in"]) -> Float[Tensor, "m in"]:
    """Directions whose largest entry by absolute value is positive."""
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    return torch.where(largest < 0, -directions, directions)

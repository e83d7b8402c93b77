# SPDX-License-Identifier: Apache-2.0
"""Least squares with a ridge on random features: the limit of gradient descent from zero, or a number of its steps.

    loss(v) = |Phi v - t|^2 / (2n) + ridge |v|^2 / 2,    v* = (Phi^T Phi / n + ridge I)^-1 Phi^T t / n

Three forms, all streaming over blocks of Phi. `GramSums` holds Phi^T Phi and takes rows in any number of calls. The
dual form holds Phi Phi^T: v = Phi^T a, and a descends as v does. Where neither matrix fits into the memory allowed,
conjugate gradients hold vectors only and compute the features again in every iteration.
"""

from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from rankwise.errors import MethodError
from rankwise.heads.hierarchical.features import BLOCK, RandomFeatures
from rankwise.linalg.krylov import leading_eigenvectors
from rankwise.recipes.errors import DataError

_RESIDUAL = 1e-9  # relative, at which conjugate gradients stop
_MOST = 2000  # iterations of them


class GramSums:
    """The sums over rows that least squares needs, added up in any number of calls.

    Args:
        width: number of features.
        device: where the sums live.

    Attributes:
        count: rows taken.
    """

    def __init__(self, width: int, device: torch.device) -> None:
        self.count = 0
        self._gram = torch.zeros(width, width, dtype=torch.float64, device=device)
        self._moment = self._gram.new_zeros(width)
        self._totals = self._gram.new_zeros(width)
        self._target = self._gram.new_zeros(())

    @property
    def mean(self) -> Float[Tensor, ""]:
        """The mean of the targets."""
        return self._target / self.count

    def add(self, features: Float[Tensor, "rows width"], targets: Float[Tensor, " rows"]) -> None:
        """Take rows."""
        self.count += len(targets)
        self._gram.addmm_(features.t(), features)
        self._moment += features.t() @ targets
        self._totals += features.sum(dim=0)
        self._target += targets.sum()

    def solution(self, ridge: float, steps: int | None, center: bool) -> Float[Tensor, " width"]:
        """The weights, for the targets as they are or for their distance from their mean."""
        moment = self._moment - self.mean * self._totals if center else self._moment
        return descended(self._gram / self.count, moment / self.count, ridge, steps)

    def spread(self, weights: Float[Tensor, " width"]) -> Float[Tensor, ""]:
        """The standard deviation of Phi v over the rows taken."""
        mean = self._totals @ weights / self.count
        return (weights @ self._gram @ weights / self.count - mean**2).clamp(min=0).sqrt()


def feature_weights(
    features: RandomFeatures,
    x: Float[Tensor, "rows in"],
    targets: Float[Tensor, " rows"],
    ridge: float,
    steps: int | None,
    memory: float,
) -> Float[Tensor, " width"]:
    """Weights of the features, in the smallest of the three forms.

    Args:
        features: the first layer.
        x: the rows.
        targets: t, one for each row.
        ridge: its factor.
        steps: of gradient descent from zero; None for the limit.
        memory: GiB that matrices may take.

    Raises:
        MethodError: if steps are asked for and neither matrix fits into memory.
        DataError: if the features overflow, or the rows do not determine the weights.
    """
    if fits(min(features.width, len(x)), memory):
        form = gram_weights if features.width <= len(x) else dual_weights
        return form(features, x, targets, ridge, steps)
    if steps is not None:
        raise MethodError(
            f"steps={steps} needs a square matrix of {min(features.width, len(x))} rows, too large for memory={memory} "
            "GiB. Raise memory, or take steps=None for the limit."
        )
    return free_weights(features, x, targets, ridge)


def fits(size: int, memory: float) -> bool:
    """Whether a square matrix of this size, one copy and its factor fit into `memory` GiB."""
    return 3 * 8 * size**2 <= memory * 2**30


def gram_weights(
    features: RandomFeatures,
    x: Float[Tensor, "rows in"],
    targets: Float[Tensor, " rows"],
    ridge: float,
    steps: int | None = None,
    block: int = BLOCK,
) -> Float[Tensor, " width"]:
    """The weights from Phi^T Phi."""
    sums = GramSums(features.width, x.device)
    for rows, values in features.row_blocks(x, block):
        sums.add(values, targets[rows])
    return sums.solution(ridge, steps, center=False)


def dual_weights(
    features: RandomFeatures,
    x: Float[Tensor, "rows in"],
    targets: Float[Tensor, " rows"],
    ridge: float,
    steps: int | None = None,
    block: int = BLOCK,
) -> Float[Tensor, " width"]:
    """The weights from Phi Phi^T."""
    kernel = x.new_zeros(len(x), len(x))
    for _, values in features.column_blocks(x, block):
        kernel.addmm_(values, values.t())
    dual = descended(kernel.div_(len(x)), targets / len(x), ridge, steps)
    found = x.new_empty(features.width)
    for columns, values in features.column_blocks(x, block):
        found[columns] = values.t() @ dual
    return found


def free_weights(
    features: RandomFeatures,
    x: Float[Tensor, "rows in"],
    targets: Float[Tensor, " rows"],
    ridge: float,
    block: int = BLOCK,
) -> Float[Tensor, " width"]:
    """The weights by conjugate gradients, without a matrix."""

    def normal(v: Tensor) -> Tensor:
        found = ridge * v
        for _, values in features.row_blocks(x, block):
            found += values.t() @ (values @ v) / len(x)
        return found

    moment = x.new_zeros(features.width)
    for rows, values in features.row_blocks(x, block):
        moment += values.t() @ targets[rows] / len(x)
    _check_finite(moment)
    return conjugate_gradients(normal, moment)


def descended(
    matrix: Float[Tensor, "m m"], moment: Float[Tensor, " m"], ridge: float, steps: int | None
) -> Float[Tensor, " m"]:
    """Solve (matrix + ridge I) v = moment, or go `steps` of gradient descent from zero towards it.

    The step size is 1 / (largest eigenvalue + ridge), so that the loss falls in every step. `matrix` is changed.

    Raises:
        DataError: if the matrix is not finite or, with this ridge, not positive definite.
    """
    _check_finite(matrix)
    if steps is None:
        matrix.diagonal().add_(ridge)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if bool(failed):
            raise DataError(f"The rows do not determine the weights at ridge={ridge}. Give more rows, or raise it.")
        return torch.cholesky_solve(moment[:, None], factor)[:, 0]
    rate = 1 / (leading_eigenvectors(matrix, 1)[0] + ridge)
    v = torch.zeros_like(moment)
    for _ in range(steps):
        v -= rate * (matrix @ v - moment + ridge * v)
    return v


def conjugate_gradients(product: Callable[[Tensor], Tensor], right: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    """Solve product(v) = right for a symmetric positive definite product.

    Raises:
        DataError: if the residual is not small after 2000 iterations.
    """
    v, residual = torch.zeros_like(right), right.clone()
    direction, square = residual.clone(), residual @ residual
    goal = _RESIDUAL**2 * square
    for _ in range(_MOST):
        if bool(square <= goal):
            return v
        image = product(direction)
        length = square / (direction @ image)
        v += length * direction
        residual -= length * image
        square, before = residual @ residual, square
        direction = residual + cast(Tensor, square / before) * direction
    raise DataError(f"Least squares did not settle in {_MOST} iterations. Raise ridge, or the memory allowed.")


def _check_finite(sums: Tensor) -> None:
    if not bool(torch.isfinite(sums).all()):
        raise DataError(
            "The polynomial features overflow. Bring the columns of X to unit variance, or lower the degree."
        )

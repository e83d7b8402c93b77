# SPDX-License-Identifier: Apache-2.0
"""Singular values, norms and cosines of gradients that are given as factors, in float64.

    G = D^T Z,  n rows < min(out, in):   D^T = Q R,  singular values of G = those of R Z  [n, in]
    <Ga, Gb> = sum((Da Db^T) * (Za Zb^T))

The triangular factor costs O(n^2 (out + in)) and the decomposition O(n^3), against O(out in min(out, in)) for G itself;
with as many rows as columns the gradient is formed instead, since then it is no larger. For float32 factors values
below 1e-8 of the largest are lost (linalg/singular_values.py), which is below the rounding of such gradients. Effective
rank is that of singular values, not of their squares: Li et al., arXiv:2504.10766, after Roy and Vetterli 2007. Not
computed are single entries of the gradient (largest, smallest), which would need it in full.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rankwise.inspect.data.gradient_factors import Factors
from rankwise.linalg.singular_values import singular_values_of_product
from rankwise.linalg.spectrum import effective_rank
from rankwise.recipes.errors import DataError

_NO_GRADIENT = 1e-12  # nuclear norms below it are rounding: the softmax over a single token, for one


@dataclass(frozen=True)
class GradientNumbers:
    """What the spectrum of one gradient says.

    Attributes:
        nuclear: the nuclear norm, the sum of the singular values.
        effective_rank: between 1 and the rank; not a number for a gradient of zero.
        frobenius: the Frobenius norm.
        side: the smaller side of the weight, which bounds the rank as the number of tokens does.
    """

    nuclear: float
    effective_rank: float
    frobenius: float
    side: int


def gradient_spectrum(factors: Factors) -> Float[Tensor, " k"]:
    """The singular values of a gradient in descending order, k = min(rows, out, in); the rest are 0."""
    return singular_values_of_product(factors.gradients.mT, factors.inputs)


def gradient_numbers(factors: Factors) -> GradientNumbers:
    """Norms and effective rank of a gradient."""
    s = gradient_spectrum(factors)
    nuclear = float(s.sum())
    rank = float(effective_rank(s)) if nuclear >= _NO_GRADIENT else math.nan
    return GradientNumbers(nuclear, rank, float(torch.linalg.vector_norm(s)), min(factors.shape))


def gradient_cosines(gradients: Sequence[Factors]) -> Float[Tensor, "g g"]:
    """The cosine between each two gradients, read as long vectors; not a number where one is zero.

    Raises:
        DataError: if their shapes differ (those of q and k under grouped-query attention do).
    """
    shapes = {one.shape for one in gradients}
    if len(shapes) > 1:
        raise DataError(f"the cosine takes gradients of one shape, got {sorted(shapes)}.")
    result = torch.eye(len(gradients), dtype=torch.float64)
    norms = [math.sqrt(max(_inner(one, one), 0.0)) for one in gradients]
    for i, first in enumerate(gradients):
        for j in range(i):
            product = norms[i] * norms[j]
            result[i, j] = result[j, i] = _inner(first, gradients[j]) / product if product else math.nan
        result[i, i] = 1.0 if norms[i] else math.nan
    return result


def _inner(first: Factors, second: Factors) -> float:
    d = first.gradients.double() @ second.gradients.double().mT
    z = first.inputs.double() @ second.inputs.double().mT
    return float((d * z).sum())

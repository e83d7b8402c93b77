# SPDX-License-Identifier: Apache-2.0
r"""Real spherical harmonics of directions, differentiable as often as one likes and smooth at the poles.

With the polar axis y as in e3nn, cos theta = y and sin^m theta e^(i m phi) = (z + i x)^m, so that

    Y_l,m = sqrt(2) (P_lm / sin^m) Re (z + i x)^m,    Y_l,-m = sqrt(2) (P_lm / sin^m) Im (z + i x)^m

are polynomials of the direction: no angle is computed and nothing is divided. Normalized so that the integral of Y^2 is
1, which is e3nn's "integral". The recurrence is that of legendre.py.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from rankwise.errors import SymmetryError
from rankwise.symmetry.gaunt.legendre import checked_degree, recurrence


def spherical_harmonics(degree: int, vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch harmonics"]:
    """Y_lm of the directions of vectors, for l = 0..degree, at place l*l + l + m.

    Args:
        degree: the largest l.
        vectors: x, y, z, of any length but zero.

    Returns:
        (degree + 1)^2 numbers for each vector.

    Raises:
        SymmetryError: if a vector is zero, infinite or NaN, or the degree is above the table.

    Example:
        >>> spherical_harmonics(1, torch.tensor([0.0, 2.0, 0.0])).mul(math.sqrt(4 * math.pi / 3))
        tensor([0.5774, 0.0000, 1.0000, 0.0000])
    """
    checked_degree(degree, "spherical_harmonics")
    x, y, z = directions(vectors).unbind(-1)
    columns: dict[tuple[int, int], Tensor] = {}
    cosine, sine = torch.ones_like(x), torch.zeros_like(x)
    start = 1 / math.sqrt(4 * math.pi)
    for m in range(degree + 1):
        if m:
            cosine, sine = cosine * z - sine * x, cosine * x + sine * z
            start *= math.sqrt((2 * m + 1) / (2 * m))
        for ell, value in enumerate(_column(degree, m, start, y), start=m):
            columns[ell, m] = value * cosine * (math.sqrt(2) if m else 1)
            if m:
                columns[ell, -m] = value * sine * math.sqrt(2)
    return torch.stack([columns[ell, m] for ell in range(degree + 1) for m in range(-ell, ell + 1)], dim=-1)


def directions(vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """The vectors scaled to length one.

    Raises:
        SymmetryError: if one has no direction: it is zero, infinite or NaN.
    """
    lengths = vectors.norm(dim=-1, keepdim=True)
    if not torch.compiler.is_compiling():
        bad = (~torch.isfinite(lengths) | (lengths == 0)).sum().item()
        if bad:
            raise SymmetryError(
                f"{bad} of {lengths.numel()} vectors have no direction: they are zero (two points at one place, or a "
                "point joined to itself), infinite or NaN. Leave them out before computing harmonics."
            )
    return vectors / lengths


def _column(degree: int, m: int, start: float, y: Tensor) -> list[Tensor]:
    """P_lm / sin^m for l = m..degree."""
    values = [torch.full_like(y, start)]
    for ell in range(m + 1, degree + 1):
        a, b = recurrence(ell, m)
        values.append(a * (y * values[-1] - b * values[-2]) if ell > m + 1 else a * y * values[-1])
    return values

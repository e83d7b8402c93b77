# SPDX-License-Identifier: Apache-2.0
r"""The numbers behind the products: Gaunt and bracket coefficients, and the Clebsch-Gordan tensors they scale.

    integral of Y_i Y_j Y_k         = c(l1, l2, l) w_ijk      for l1 + l2 + l even
    integral of {Y_i, Y_j} Y_k      = alpha(l1, l2, l) w_ijk  for l1 + l2 + l odd

    c     = sqrt((2l1+1)(2l2+1)(2l+1) / 4 pi) |(l1 l2 l; 0 0 0)|
    alpha = sqrt((2l1+1)(2l2+1)(2l+1) / 4 pi) sqrt(l1(l1+1) l2(l2+1)) |(l1 l2 l; 1 -1 0)|

with {f, g} = rhat . (grad f x grad g) and w the coupling tensor of unit norm, unique up to sign; the sign taken here
makes both factors positive, and it is e3nn's. Every pair of factors is zero exactly where the triangle fails or the
parity of the sum is the other one, so product and bracket together hold each coupling tensor once.
Reference: https://arxiv.org/abs/2401.10216 for the first line.
"""

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np

from rankwise.errors import SymmetryError
from rankwise.symmetry.gaunt.grid import Grid, factors, on_points
from rankwise.symmetry.gaunt.legendre import Array, checked_degree


def gaunt_tensor(l1: int, l2: int, ell: int) -> Array:
    """The integrals of Y_i Y_j Y_k over the sphere, [2 l1 + 1, 2 l2 + 1, 2 l + 1], in float64.

    Raises:
        SymmetryError: if a degree is negative or above the table.
    """
    grid = Grid.exact(_total(l1, l2, ell))
    y1, y2, y = (on_points(factors(degree, grid)[0])[degree**2 :] for degree in (l1, l2, ell))
    return np.einsum("ip,jp,kp->ijk", y1, y2, y * _weights(grid), optimize=True)


def bracket_tensor(l1: int, l2: int, ell: int) -> Array:
    """The integrals of {Y_i, Y_j} Y_k over the sphere, [2 l1 + 1, 2 l2 + 1, 2 l + 1], in float64.

    Raises:
        SymmetryError: if a degree is negative or above the table.
    """
    grid = Grid.exact(_total(l1, l2, ell))
    (_, t1, p1), (_, t2, p2), (y, _, _) = (
        [on_points(part)[degree**2 :] for part in factors(degree, grid)] for degree in (l1, l2, ell)
    )
    weighted = y * _weights(grid)
    forth = np.einsum("ip,jp,kp->ijk", t1, p2, weighted, optimize=True)
    return forth - np.einsum("ip,jp,kp->ijk", p1, t2, weighted, optimize=True)


@lru_cache(maxsize=1024)
def coupling_tensor(l1: int, l2: int, ell: int) -> Array:
    """The real Clebsch-Gordan tensor of unit norm, with e3nn's sign (`o3.wigner_3j`), in float64.

    Raises:
        SymmetryError: if the triangle inequality fails or a degree is above the table.
    """
    if not abs(l1 - l2) <= ell <= l1 + l2:
        raise SymmetryError(f"({l1}, {l2}, {ell}) is no triangle: l lies between |l1 - l2| and l1 + l2.")
    if (l1 + l2 + ell) % 2:
        return bracket_tensor(l1, l2, ell) / bracket_factor(l1, l2, ell)
    return gaunt_tensor(l1, l2, ell) / gaunt_factor(l1, l2, ell)


@lru_cache(maxsize=65536)
def gaunt_factor(l1: int, l2: int, ell: int) -> float:
    """c(l1, l2, l); 0 if the product has no such path."""
    if (l1 + l2 + ell) % 2:
        return 0.0
    return _dimensions(l1, l2, ell) * math.sqrt(three_j_squared((l1, l2, ell), (0, 0, 0)))


@lru_cache(maxsize=65536)
def bracket_factor(l1: int, l2: int, ell: int) -> float:
    """alpha(l1, l2, l); 0 if the bracket has no such path."""
    if not (l1 + l2 + ell) % 2 or not l1 or not l2:
        return 0.0
    ladder = math.sqrt(l1 * (l1 + 1) * l2 * (l2 + 1))
    return _dimensions(l1, l2, ell) * ladder * math.sqrt(three_j_squared((l1, l2, ell), (1, -1, 0)))


def three_j_squared(degrees: tuple[int, int, int], orders: tuple[int, int, int]) -> Fraction:
    """The square of Wigner's 3j symbol, exactly, by Racah's sum over integers."""
    (a, b, c), (i, j, k) = degrees, orders
    if i + j + k or not abs(a - b) <= c <= a + b or any(abs(m) > ell for ell, m in zip(degrees, orders, strict=True)):
        return Fraction(0)
    f = math.factorial
    total = Fraction(0)
    for t in range(max(0, b - c - i, a - c + j), min(a + b - c, a - i, b + j) + 1):
        below = f(t) * f(c - b + t + i) * f(c - a + t - j) * f(a + b - c - t) * f(a - t - i) * f(b - t + j)
        total += Fraction((-1) ** t, below)
    triangle = Fraction(f(a + b - c) * f(a - b + c) * f(b + c - a), f(a + b + c + 1))
    ladders = math.prod(f(ell + m) * f(ell - m) for ell, m in zip(degrees, orders, strict=True))
    return triangle * ladders * total**2


def _dimensions(l1: int, l2: int, ell: int) -> float:
    return math.sqrt((2 * l1 + 1) * (2 * l2 + 1) * (2 * ell + 1) / (4 * math.pi))


def _total(*degrees: int) -> int:
    return sum(checked_degree(degree, "A coefficient") for degree in degrees)


def _weights(grid: Grid) -> Array:
    return np.repeat(grid.rings()[2], grid.phis)

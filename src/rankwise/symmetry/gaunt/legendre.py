# SPDX-License-Identifier: Apache-2.0
r"""Associated Legendre functions in theta, normalized for the sphere, by a recurrence that does not overflow.

    Y_l0 = P_l0,    Y_lm = sqrt(2) P_lm cos(m phi),    Y_l,-m = sqrt(2) P_lm sin(m phi),    integral of Y^2 = 1

    P_mm = sqrt((2m+1) / 2m) sin P_(m-1)(m-1),   P_lm = a_lm (cos P_(l-1)m - b_lm P_(l-2)m)

without the Condon-Shortley sign. Each is a trigonometric polynomial in theta, and with a negative sine the recurrence
continues it to the circle, which is what its Fourier coefficients are read from. Everything is float64. Reference for
the recurrence's stability: Holmes, Featherstone, J. Geodesy 76 (2002) 279.
"""

import math

import numpy as np

from rankwise.errors import SymmetryError

MAX_DEGREE = 60
"""The largest degree the tables are made for; sums of three of them stay exact to 1e-13."""

Array = np.ndarray


def checked_degree(degree: int, what: str) -> int:
    """The degree itself.

    Raises:
        SymmetryError: if it is negative or above the tables' limit.
    """
    if not 0 <= degree <= MAX_DEGREE:
        raise SymmetryError(f"{what} has degree {degree}; the tables are made for degrees 0 to {MAX_DEGREE}.")
    return degree


def recurrence(ell: int, m: int) -> tuple[float, float]:
    """a_lm and b_lm of P_lm = a_lm (cos P_(l-1)m - b_lm P_(l-2)m), for l > m."""
    if ell == m + 1:
        return math.sqrt(2 * m + 3), 0.0
    return math.sqrt((4 * ell * ell - 1) / (ell * ell - m * m)), math.sqrt(
        ((ell - 1) ** 2 - m * m) / (4 * (ell - 1) ** 2 - 1)
    )


def legendre(degree: int, cosine: Array, sine: Array) -> Array:
    """P[l, m, point] for 0 <= m <= l <= degree, zero above the diagonal."""
    return _filled(degree, cosine, _diagonal(degree, sine))


def theta_derivative(values: Array) -> Array:
    """dP/dtheta from P itself, by the ladder operators: nothing is divided by a sine."""
    degree = len(values) - 1
    slopes = np.zeros_like(values)
    for ell in range(1, degree + 1):
        slopes[ell, 0] = -math.sqrt(ell * (ell + 1)) * values[ell, 1]
        for m in range(1, ell + 1):
            above = math.sqrt((ell - m) * (ell + m + 1)) * values[ell, m + 1] if m < ell else 0.0
            slopes[ell, m] = (math.sqrt((ell + m) * (ell - m + 1)) * values[ell, m - 1] - above) / 2
    return slopes


def over_sine(degree: int, cosine: Array, sine: Array) -> Array:
    """P_lm / sin for m >= 1, zero for m = 0; the phi derivative needs it, finite at the poles."""
    start = _diagonal(degree, sine)
    start[1:] = start[:-1] * np.array([math.sqrt((2 * m + 1) / (2 * m)) for m in range(1, degree + 1)])[:, None]
    start[0] = 0.0
    return _filled(degree, cosine, start)


def _diagonal(degree: int, sine: Array) -> Array:
    start = np.empty((degree + 1, len(sine)))
    start[0] = math.sqrt(1 / (4 * math.pi))
    for m in range(1, degree + 1):
        start[m] = math.sqrt((2 * m + 1) / (2 * m)) * sine * start[m - 1]
    return start


def _filled(degree: int, cosine: Array, start: Array) -> Array:
    values = np.zeros((degree + 1, degree + 1, len(cosine)))
    for m in range(degree + 1):
        values[m, m] = start[m]
        for ell in range(m + 1, degree + 1):
            a, b = recurrence(ell, m)
            values[ell, m] = a * (cosine * values[ell - 1, m] - (b * values[ell - 2, m] if ell > m + 1 else 0.0))
    return values

# SPDX-License-Identifier: Apache-2.0
r"""The Fourier route: both signals as two-dimensional Fourier series, convolved by FFT, and integrated back.

    f(theta, phi) = sum_{u, v} F_uv e^(i (u theta + v phi)),    F_uv = sum_l Q_lv[u] (x_lv - i x_l,-v) / sqrt(2)

where Q_lm are the Fourier coefficients of P_lm, continued to the whole circle, so that degree l and order m touch only
v = +-m. The product's coefficients are a convolution; the way back is the integral over the sphere,

    y_lm ~ sum_u W_lm[u] H_um,    W_lm[u] = sum_k Q_lm[k] I(u + k),    I(n) = integral over 0..pi of e^(i n t) sin t dt

I(n) = 2 / (1 - n^2) for even n, +-i pi / 2 for n = +-1, 0 for the other odd n. Conversions cost O(L^3), the FFT
O(L^2 log L). A circle of n points holds the product of bandwidths L1 and L2 without aliasing if n > 2 (L1 + L2).
Reference: https://arxiv.org/abs/2401.10216.
"""

import math
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from rankwise.symmetry.gaunt.legendre import Array, legendre, over_sine, theta_derivative
from rankwise.symmetry.gaunt.pattern import Samples
from rankwise.symmetry.gaunt.route import Route


class Fourier(Route):
    """Products of two-dimensional Fourier series by FFT; see `Route`."""

    name: ClassVar[str] = "Fourier"

    @property
    def circle(self) -> int:
        """The number of points of each circle: enough for the whole band."""
        return 2 * self.pattern.band + 1

    def tables(self) -> dict[str, np.ndarray]:
        """Fourier coefficients for the inputs, integrals for the output."""
        found: dict[str, np.ndarray] = {}
        for role in (0, 1):
            degree = self.pattern.degrees[role]
            found[f"plus{role}"], found[f"minus{role}"] = _places(degree)
            parts = series(degree)
            for kind, part in zip(
                ("value", "theta", "phi"), parts if self.pattern.bracket else parts[:1], strict=False
            ):
                found[f"{kind}{role}"] = _pairs(part)
            found[f"sines{role}"] = np.where(np.arange(degree + 1) == 0, 0.0, -1.0)[:, None]
        found["integrals"] = _pairs(integrals(self.pattern.degrees[2], self.pattern.band))
        found["by_degree"] = _places_back(self.pattern.degrees[2])
        return found

    def sample(self, x: Tensor, role: int, gradient: bool) -> Samples:
        """[rows, circle, circle], the inverse FFT of the Fourier coefficients."""
        degree = self.pattern.degrees[role]
        plus = x.index_select(1, self.table(f"plus{role}")).view(-1, degree + 1, degree + 1)
        minus = x.index_select(1, self.table(f"minus{role}")).view(-1, degree + 1, degree + 1)
        pairs = torch.complex(plus, minus * self.table(f"sines{role}")).transpose(0, 1)
        kinds = ("value", "theta", "phi") if gradient else ("value",)
        return Samples(*(self._spread(torch.bmm(pairs, self._complex(f"{kind}{role}")), degree) for kind in kinds))

    def expand(self, samples: Tensor, role: int) -> Tensor:
        """The FFT, and the integrals of its columns against the harmonics."""
        degree, band = self.pattern.degrees[2], self.circle // 2
        spectrum = torch.fft.rfft2(samples, norm="forward")[..., : degree + 1]
        spectrum = torch.cat([spectrum[:, band + 1 :], spectrum[:, : band + 1]], dim=1)
        found = torch.bmm(spectrum.permute(2, 0, 1), self._complex("integrals"))  # order, row, degree
        both = torch.cat([-found.imag.flip(0)[:-1], found.real])
        return both.transpose(0, 1).flatten(1).index_select(1, self.table("by_degree"))

    def _complex(self, name: str) -> Tensor:
        return torch.view_as_complex(self.table(name))

    def _spread(self, columns: Tensor, degree: int) -> Tensor:
        """[order, row, u] to samples: u = 0.., then zeros, then the negative ones, and the same for the orders."""
        by_row = columns.permute(1, 2, 0)
        zeros = by_row.new_zeros(len(by_row), self.circle - 2 * degree - 1, degree + 1)
        whole = torch.cat([by_row[:, degree:], zeros, by_row[:, :degree]], dim=1)
        return torch.fft.irfft2(whole, s=(self.circle, self.circle), norm="forward")


@lru_cache(maxsize=64)
def series(degree: int) -> tuple[Array, Array, Array]:
    """Fourier coefficients [m, l - m, u + L] of P, dP/dtheta and i m P / sin, times the factor of order m."""
    count = 2 * degree + 1
    angles = 2 * math.pi * np.arange(count) / count
    cosine, sine = np.cos(angles), np.sin(angles)
    values = legendre(degree, cosine, sine)
    waves = np.exp(-1j * np.outer(angles, np.arange(-degree, degree + 1))) / count
    turned = 1j * np.arange(degree + 1)[:, None, None]
    parts = (values, theta_derivative(values), over_sine(degree, cosine, sine))
    by_u = [_by_order(part @ waves) for part in parts]
    return by_u[0], by_u[1], by_u[2] * turned


@lru_cache(maxsize=64)
def integrals(degree: int, band: int) -> Array:
    """[m, u + band, l - m]: the integrals that take a Fourier column of order m to the harmonics of order m."""
    sums = np.arange(-band, band + 1)[:, None] + np.arange(-degree, degree + 1)
    even = np.where(sums % 2 == 0, 2 / (1 - np.where(sums % 2 == 0, sums, 0).astype(float) ** 2), 0)
    sine_integral = even + 0.5j * math.pi * ((sums == 1).astype(float) - (sums == -1))
    # Each entry of `series` holds 1/sqrt(2) for m > 0; the way back needs sqrt(2): twice as much.
    twice = np.where(np.arange(degree + 1) == 0, 1, 2)[:, None, None]
    return np.ascontiguousarray((2 * math.pi * twice * (series(degree)[0] @ sine_integral.T)).transpose(0, 2, 1))


def _by_order(part: Array) -> Array:
    degree = len(part) - 1
    found = np.zeros((degree + 1, degree + 1, part.shape[2]), dtype=complex)
    for m in range(degree + 1):
        found[m, : degree + 1 - m] = part[m:, m] / (math.sqrt(2) if m else 1)
    return found


def _pairs(table: Array) -> Array:
    """Real and imaginary parts on a last axis: modules cast complex buffers to real ones."""
    return np.stack([np.real(table), np.imag(table)], axis=-1)


def _places(degree: int) -> tuple[Array, Array]:
    """Where x_lm and x_l,-m stand, [m, l - m]; the empty places meet zeros of the series."""
    plus = np.zeros((degree + 1, degree + 1), dtype=np.int64)
    minus = plus.copy()
    for m in range(degree + 1):
        for ell in range(m, degree + 1):
            plus[m, ell - m], minus[m, ell - m] = ell * ell + ell + m, ell * ell + ell - m
    return plus.reshape(-1), minus.reshape(-1)


def _places_back(degree: int) -> Array:
    """Where (m + L, l - |m|) holds the harmonic l, m."""
    places = [(m + degree) * (degree + 1) + ell - abs(m) for ell in range(degree + 1) for m in range(-ell, ell + 1)]
    return np.array(places, dtype=np.int64)

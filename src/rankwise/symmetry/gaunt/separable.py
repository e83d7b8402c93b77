# SPDX-License-Identifier: Apache-2.0
r"""The grid route one angle at a time: a Legendre matrix for each order m, then a Fourier matrix in phi; and back.

    f(theta, phi) = sum_m t_m(phi) sum_l P_l|m|(theta) x_lm

costs O(L^3) a row. Cosines and sines are kept apart, as functions even and odd in phi, so that half the circle is
enough: twice the pointwise products, half the Fourier matrices. Rows stand last in memory, so that both steps are
products with long rows, and they are taken a few hundred at a time, so that what lies between the steps stays in the
processor's cache. Nothing is kept for the backward pass but the inputs: it samples again, and since a gradient of a
product is a product (pattern.py), it is made of the same steps and can be differentiated again.
"""

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from rankwise.symmetry.gaunt.grid import Grid, factors
from rankwise.symmetry.gaunt.pattern import Pattern, Samples
from rankwise.symmetry.gaunt.route import Route

_POINTS = 1 << 18
"""How many samples of one signal are held at a time."""

Roles = tuple[int, int, int]


class SeparableGrid(Route):
    """Products on the sphere grid, theta and phi one after the other; see `Route`."""

    name: ClassVar[str] = "separable grid"

    def tables(self) -> dict[str, np.ndarray]:
        """For each role: Legendre matrices by order, waves in phi, weights, and the two orders of the harmonics."""
        return separable_tables(self.pattern)

    def sample(self, x: Tensor, role: int, gradient: bool) -> Samples:
        """[even or odd in phi, angles of half a circle, rings * rows]."""
        moved = self._by_order(x, f"by_order{role}")
        value = self._waves(moved, "value", role)
        if not gradient:
            return Samples(value)
        turned = self._by_order(x, f"turned{role}")
        return Samples(value, self._waves(moved, "theta", role), self._waves(turned, "phi", role))

    def multiply(self, f: Tensor, g: Tensor) -> Tensor:
        """Even parts times even parts and odd ones times odd ones are even, the rest is odd."""
        if torch.is_grad_enabled():
            even = torch.addcmul(f[0] * g[0], f[1], g[1])
            return torch.stack([even, torch.addcmul(f[0] * g[1], f[1], g[0])])
        product = f[0] * g
        product[0].addcmul_(f[1], g[1])
        product[1].addcmul_(f[1], g[0])
        return product

    def expand(self, samples: Tensor, role: int) -> Tensor:
        """Waves first, then rings."""
        back = self.table(f"back{role}")
        by_wave = torch.bmm(self.table(f"back_waves{role}"), samples).view(len(back), back.shape[2], -1)
        found = torch.bmm(back, by_wave).flatten(0, 1)
        return found.index_select(0, self.table(f"by_degree{role}")).mT

    def _by_order(self, x: Tensor, name: str) -> Tensor:
        # Transposed first: rows are then gathered whole.
        return x.mT.contiguous().index_select(0, self.table(name)).unflatten(0, (-1, math.isqrt(x.shape[1])))

    def _waves(self, moved: Tensor, kind: str, role: int) -> Tensor:
        rings = torch.bmm(self.table(f"rings_{kind}{role}"), moved)
        return torch.bmm(self.table(f"waves{role}"), rings.view(2, len(rings) // 2, -1))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The products row by row."""
        if torch.compiler.is_compiling():
            return super().forward(x, y)
        return _Product.apply(self, (0, 1, 2), x, y)  # type: ignore[no-any-return]

    def in_chunks(self, x: Tensor, y: Tensor, roles: Roles) -> Tensor:
        """`multiplied`, a few rows at a time."""
        size = (len(self.pattern.types[roles[2]]), x.shape[1], (self.pattern.degrees[roles[2]] + 1) ** 2)
        result = x.new_empty(size)
        for rows in self.chunks(x.shape[1]):
            f, g = (
                [self.sample(signal, role, bool(self.pattern.bracket)) for signal in stack[:, rows].unbind()]
                for role, stack in ((roles[0], x), (roles[1], y))
            )
            for part, samples in enumerate(self.pattern.combine(f, g, roles, self.multiply)):
                result[part, rows] = self.expand(samples, roles[2])
        return result

    def both_gradients(self, x: Tensor, y: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients of `multiplied` by its two arguments, with what they share sampled once."""
        gradient, pattern = bool(self.pattern.bracket), self.pattern
        found = torch.empty_like(x), torch.empty_like(y)
        for rows in self.chunks(x.shape[1]):
            f, h, k = (
                [self.sample(signal, role, gradient) for signal in stack[:, rows].unbind()]
                for role, stack in enumerate((x, y, g))
            )
            for target, (one, other), roles in ((0, (h, k), (1, 2, 0)), (1, (k, f), (2, 0, 1))):
                for part, samples in enumerate(pattern.combine(one, other, roles, self.multiply)):
                    found[target][part, rows] = self.expand(samples, target)
        return found

    def chunks(self, rows: int) -> list[slice]:
        """Slices that cover the rows."""
        grid = Grid.exact(self.pattern.total)
        most = max(64, _POINTS // (grid.thetas * grid.phis))
        count = max(1, -(-rows // most))
        step = -(-rows // count) if rows else 1
        return [slice(start, start + step) for start in range(0, rows, step)]


class _Product(torch.autograd.Function):
    """A product of signals in two roles, in the third."""

    @staticmethod
    def forward(route: SeparableGrid, roles: Roles, x: Tensor, y: Tensor) -> Tensor:
        return route.in_chunks(x, y, roles)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.route, ctx.roles, x, y = inputs
        ctx.save_for_backward(x, y)

    @staticmethod
    def backward(ctx, g: Tensor):  # type: ignore[override]
        (x, y), (first, second, last) = ctx.saved_tensors, ctx.roles
        needs_x, needs_y = ctx.needs_input_grad[2:]
        if needs_x and needs_y and ctx.roles == (0, 1, 2):
            return None, None, *_Gradients.apply(ctx.route, x, y, g)
        to_x = _Product.apply(ctx.route, (second, last, first), y, g) if needs_x else None
        to_y = _Product.apply(ctx.route, (last, first, second), g, x) if needs_y else None
        return None, None, to_x, to_y


class _Gradients(torch.autograd.Function):
    """Both gradients of the product of roles 0 and 1."""

    @staticmethod
    def forward(route: SeparableGrid, x: Tensor, y: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        return route.both_gradients(x, y, g)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.route, x, y, g = inputs
        ctx.save_for_backward(x, y, g)

    @staticmethod
    def backward(ctx, u: Tensor, v: Tensor):  # type: ignore[override]
        (x, y, g), route = ctx.saved_tensors, ctx.route
        to_x = _Product.apply(route, (1, 2, 0), v, g) if ctx.needs_input_grad[1] else None
        to_y = _Product.apply(route, (2, 0, 1), g, u) if ctx.needs_input_grad[2] else None
        if not ctx.needs_input_grad[3]:
            return None, to_x, to_y, None
        return None, to_x, to_y, _Product.apply(route, (0, 1, 2), u, y) + _Product.apply(route, (0, 1, 2), x, v)


def separable_tables(pattern: Pattern) -> dict[str, np.ndarray]:
    """The tables of a `SeparableGrid`; see `SeparableGrid.tables`."""
    grid = Grid.exact(pattern.total)
    weights = grid.rings()[2]
    found = {}
    for role, degree in enumerate(pattern.degrees):
        found[f"by_order{role}"], found[f"turned{role}"], found[f"by_degree{role}"] = orders(degree)
        value, theta, phi = factors(degree, grid)
        half = value.phi[:, : grid.phis // 2 + 1]
        found[f"waves{role}"] = _even_and_odd(half)
        found[f"back_waves{role}"] = found[f"waves{role}"].transpose(0, 2, 1) * _multiplicities(grid)
        found[f"rings_value{role}"] = by_order(value.theta)
        found[f"back{role}"] = by_order(value.theta * weights).transpose(0, 2, 1).copy()
        if pattern.bracket:
            slopes = np.arange(-degree, degree + 1)
            found[f"rings_theta{role}"] = by_order(theta.theta)
            # d/dphi turns the wave of m into -m times that of -m.
            found[f"rings_phi{role}"] = by_order(phi.theta) * _both(slopes)[:, None, None]
    return found


def orders(degree: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the harmonics stand in the flat order, by (cosine or sine, |m|, l - |m|), and the way back.

    The second list exchanges cosines and sines, as d/dphi does. Empty places point to 0 and meet zeros.
    """
    here, there = np.zeros((2, 2, degree + 1, degree + 1), dtype=np.int64)
    by_degree = np.zeros((degree + 1) ** 2, dtype=np.int64)
    for ell in range(degree + 1):
        for m in range(-ell, ell + 1):
            place = int(m < 0), abs(m), ell - abs(m)
            here[place], there[place] = ell * ell + ell + m, ell * ell + ell - m
            by_degree[ell * ell + ell + m] = np.ravel_multi_index(place, here.shape)
    return here.reshape(-1), there.reshape(-1), by_degree


def by_order(theta: np.ndarray) -> np.ndarray:
    """[l, |m|, ring] as [cosine or sine and |m|, ring, l - |m|], zero in the empty places."""
    degree = len(theta) - 1
    found = np.zeros((2, degree + 1, theta.shape[2], degree + 1))
    for m in range(degree + 1):
        found[: 2 if m else 1, m, :, : degree + 1 - m] = theta[m:, m].T
    return found.reshape(-1, *found.shape[2:])


def _both(values: np.ndarray) -> np.ndarray:
    """[m + L] as cosines m = 0..L, then sines m = 0..L."""
    degree = len(values) // 2
    return np.concatenate([values[degree:], values[degree::-1]])


def _even_and_odd(waves: np.ndarray) -> np.ndarray:
    """[m + L, angle] as [cosine or sine, angle, |m|]; there is no sine of order 0."""
    degree = len(waves) // 2
    found = np.stack([waves[degree:].T, waves[degree::-1].T])
    found[1, :, 0] = 0.0
    return found


def _multiplicities(grid: Grid) -> np.ndarray:
    """How many angles of the circle each one of the half stands for."""
    counts = np.full(grid.phis // 2 + 1, 2.0)
    counts[0] = 1.0
    if grid.phis % 2 == 0:
        counts[-1] = 1.0
    return counts

# SPDX-License-Identifier: Apache-2.0
"""The separable grid, compiled: all steps for a few rows before the next few (kernel.py), on the processor.

The same numbers as `SeparableGrid` in less time, whose matrices are too small for a library of linear algebra. On other
devices, and inside torch.compile, it is a `SeparableGrid`. The first product of a dtype is compiled, once a machine.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rankwise.errors import SymmetryError
from rankwise.symmetry.gaunt.grid import Grid
from rankwise.symmetry.gaunt.kernel import LANES, PROGRESS, RoleTables, products
from rankwise.symmetry.gaunt.pattern import Pattern
from rankwise.symmetry.gaunt.separable import Roles, SeparableGrid, orders, separable_tables
from rankwise.symmetry.gaunt.tiles import ROWS

_SHARED = 1 << 19  # samples from which on other threads are called: they need as long as that to wake up


class FusedGrid(SeparableGrid):
    """Products on the sphere grid, a few rows at a time; see `Route`.

    Raises:
        SymmetryError: if a signal has another dtype than the module, or another shape than the pattern says.
    """

    name: ClassVar[str] = "fused grid"
    only: ClassVar[str | None] = "cpu"

    def in_chunks(self, x: Tensor, y: Tensor, roles: Roles) -> Tensor:
        """`multiplied`, a few rows at a time."""
        if x.device.type != "cpu":
            return super().in_chunks(x, y, roles)
        return self._products({roles[0]: x, roles[1]: y}, roles[2:])[0]

    def both_gradients(self, x: Tensor, y: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """The gradients of `multiplied` by its two arguments, with what they share sampled once."""
        if x.device.type != "cpu":
            return super().both_gradients(x, y, g)
        to_x, to_y = self._products({0: x, 1: y, 2: g}, (0, 1))
        return to_x, to_y

    def _products(self, given: Mapping[int, Tensor], asked: tuple[int, ...]) -> list[Tensor]:
        """The signals in some roles from those in others."""
        pattern, like = self.pattern, next(iter(given.values()))
        rows, empty = like.shape[1], like.new_empty(0, 0, 0)
        sizes = [(len(pattern.types[role]), rows, (pattern.degrees[role] + 1) ** 2) for role in range(3)]
        for role, signal in given.items():  # what does not fit would be read beyond its end
            if signal.shape != sizes[role] or signal.dtype != self.like.dtype:
                raise SymmetryError(
                    f"A signal is {signal.dtype} of shape {tuple(signal.shape)}; here it must be {self.like.dtype} of "
                    f"shape {sizes[role]}: types, rows, harmonics."
                )
        results = {role: like.new_empty(sizes[role]) for role in asked}
        work = (
            tuple(given.get(role, empty).detach().contiguous().numpy() for role in range(3)),
            tuple(results.get(role, empty).numpy() for role in range(3)),
            role_tables(pattern, empty.numpy().dtype),
            steps(pattern, tuple(sorted(given)), asked),
            np.zeros(PROGRESS, dtype=np.int64),
        )
        grid, groups = Grid.exact(pattern.total), -(-rows * like.element_size() // LANES)
        if rows * grid.thetas * grid.phis > _SHARED:
            for _ in range(min(torch.get_num_threads(), groups) - 1):
                _helpers().submit(products, *work, False)
        products(*work, True)
        return list(results.values())


@lru_cache(maxsize=64)
def role_tables(pattern: Pattern, dtype: np.dtype) -> tuple[RoleTables, ...]:
    """The tables of the three roles."""
    tables, grid, found = separable_tables(pattern), Grid.exact(pattern.total), []
    for role, degree in enumerate(pattern.degrees):
        fields = [tables[f"rings_{field}{role}"] for field in ("value", "theta", "phi")[: 3 if pattern.bracket else 1]]
        back = tables[f"back{role}"][: degree + 1]  # cosines and sines have the same
        rings = np.stack(fields).reshape(len(fields), 2, degree + 1, grid.thetas, degree + 1)
        rings, waves, back_waves, back = (
            _padded(table).astype(dtype) for table in (rings, tables[f"waves{role}"], tables[f"back_waves{role}"], back)
        )
        found.append(RoleTables(rings, waves, back_waves, back, orders(degree)[0].reshape(2, degree + 1, degree + 1)))
    return tuple(found)


@lru_cache(maxsize=256)
def steps(pattern: Pattern, given: tuple[int, ...], asked: tuple[int, ...]) -> tuple[NDArray, ...]:
    """Which functions are sampled, and which of them are multiplied to what: see `products`."""
    types, bracket = pattern.types, pattern.bracket
    fields = range(3 if bracket else 1)
    functions = [(role, kind, field) for role in given for kind in range(len(types[role])) for field in fields]
    goals = [(role, kind) for role in asked for kind in range(len(types[role]))]
    terms: list[tuple[int, int, int]] = []
    scales: list[float] = []
    for number, (last, goal) in enumerate(goals):
        one, other = (last + 1) % 3, (last + 2) % 3
        for i, first in enumerate(types[one]):
            for j, second in enumerate(types[other]):
                equal = first * second == types[last][goal]
                pairs = [(0, 0, 1.0)] if equal else [(1, 2, bracket), (2, 1, -bracket)] if bracket else []
                for field, field_too, scale in pairs:
                    pair = functions.index((one, i, field)), functions.index((other, j, field_too))
                    terms.append((number, *pair))
                    scales.append(scale)
    indices = (np.array(found, dtype=np.int64) for found in (functions, goals, terms))
    return *(found.reshape(-1, width) for found, width in zip(indices, (3, 2, 3), strict=True)), np.array(scales)


def _padded(table: NDArray) -> NDArray:
    """Zero rows up to a multiple of ROWS; rows are the axis before the last."""
    return np.pad(table, [(0, 0)] * (table.ndim - 2) + [(0, -table.shape[-2] % ROWS), (0, 0)])


@lru_cache(maxsize=1)
def _helpers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="rankwise-gaunt")

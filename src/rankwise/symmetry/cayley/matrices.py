# SPDX-License-Identifier: Apache-2.0
"""Graphs whose states are integer matrices: generator M sends the state S to M S, modulo m if there is a modulus.

With a modulus every generator must be invertible modulo m, so that its powers come back; without one entries are exact
integers, and a search stops with an error before one would leave 64 bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import gcd

import numpy as np
from numpy.typing import NDArray

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.names import checked_names, number_of
from rankwise.symmetry.cayley.permutations import integers

_WIDE = 2**63


@dataclass(frozen=True)
class MatrixGraph:
    """Integer matrices, multiplied from the left: S -> M S (mod m).

    Args:
        generators: matrices n x n of integers, each as rows.
        modulus: m >= 2, or None for exact integers.
        start: the state n x k from which distances count; None is the identity.
        names: one name for each generator; None calls them g0, g1, ...
        title: what results and plots call the graph.

    Raises:
        SymmetryError: if shapes differ, a generator is not invertible, or products could leave 64 bits:
            n (m - 1)^2 must be below 2^63.
    """

    generators: Sequence[Sequence[Sequence[int]]]
    modulus: int | None = None
    start: Sequence[Sequence[int]] | None = None
    names: Sequence[str] | None = None
    title: str = "matrices"

    def __post_init__(self) -> None:
        if self.modulus is not None and self.modulus < 2:
            raise SymmetryError(f"modulus={self.modulus}: it must be at least 2, or None for exact integers.")
        generators = tuple(_rows(matrix, self.modulus) for matrix in self.generators)
        if not generators:
            raise SymmetryError("A graph needs at least one generator, got none.")
        size = len(generators[0])
        if size == 0:
            raise SymmetryError("generator 0 has no rows; give matrices of at least one row.")
        self._check_modulus(size)
        for index, matrix in enumerate(generators):
            if len(matrix) != size or any(len(row) != size for row in matrix):
                raise SymmetryError(f"generator {index} must be {size} x {size} like the first, got {matrix}.")
            determinant = exact_determinant(matrix)
            if gcd(determinant, self.modulus or 0) != 1:
                raise SymmetryError(
                    f"generator {index} has determinant {determinant}, which has no inverse "
                    f"{f'modulo {self.modulus}' if self.modulus else 'among the integers'}; it generates no group."
                )
        start = np.eye(size, dtype=np.int64).tolist() if self.start is None else self.start
        start = _rows(start, self.modulus)
        if len(start) != size or len({len(row) for row in start}) != 1:
            raise SymmetryError(f"The start must have {size} rows of one length, got {start}.")
        names = checked_names(self.names, len(generators))
        for field, value in (("generators", generators), ("start", start), ("names", names)):
            object.__setattr__(self, field, value)

    def _check_modulus(self, size: int) -> None:
        if self.modulus is not None and size * (self.modulus - 1) ** 2 >= _WIDE:
            raise SymmetryError(
                f"modulus={self.modulus} is too large for {size} x {size} matrices: n (m-1)^2 must be below 2^63 so "
                "that no product overflows. Take a smaller modulus."
            )

    @property
    def size(self) -> int:
        """n, the number of rows."""
        return len(self.generators[0])

    @cached_property
    def moves(self) -> NDArray[np.int64]:
        """The generators as an array [generators, n, n]."""
        return np.array(self.generators, dtype=np.int64)

    @property
    def start_states(self) -> NDArray[np.int64]:
        """The start as an array of one state, [1, n, k]."""
        return np.array([self.start], dtype=np.int64)

    @cached_property
    def inverse_closed(self) -> bool:
        """Whether each generator's inverse is a generator, so that edges have no direction."""
        eye = np.eye(self.size, dtype=np.int64)
        distinct = np.unique(self.moves, axis=0)
        products = self._reduced(np.einsum("aij,bjk->abik", distinct, distinct))
        return bool((products == eye).all(axis=(-1, -2)).any(axis=1).all())

    def neighbors(self, states: NDArray[np.int64]) -> NDArray[np.int64]:
        """Every generator applied to every state: [states, n, k] -> [generators, states, n, k].

        Raises:
            SymmetryError: if there is no modulus and an entry could leave 64 bits.
        """
        states = np.asarray(states)
        if self.modulus is None and states.size:
            largest = int(np.abs(states).max()) * int(np.abs(self.moves).max()) * self.size
            if largest >= _WIDE:
                raise SymmetryError("An entry would leave 64 bits; give a modulus, or fewer layers (max_layers).")
        return self._reduced(self.moves[:, None] @ states[None])

    def applied(self, state: Sequence[Sequence[int]], path: Sequence[str | int]) -> tuple[tuple[int, ...], ...]:
        """The state that a path of generators, by name or by number, leads to from `state`.

        Raises:
            SymmetryError: if there is no generator of that name or number, the state is none, or an entry could leave
                64 bits.
        """
        matrix = self.checked(state)
        for step in path:
            matrix = self.neighbors(matrix[None])[self.index(step), 0]
        return tuple(tuple(row) for row in matrix.tolist())

    def checked(self, state: Sequence[Sequence[int]] | NDArray[np.integer]) -> NDArray[np.int64]:
        """A state as an array [n, k], reduced by the modulus.

        Raises:
            SymmetryError: if it does not have n rows of integers, all of one length.
        """
        rows = _rows(state, self.modulus)
        if len(rows) != self.size or len({len(row) for row in rows}) != 1:
            raise SymmetryError(f"A state has {self.size} rows of one length, got {rows}.")
        return np.array(rows, dtype=np.int64)

    def index(self, step: str | int) -> int:
        """The number of a generator given by name or by number.

        Raises:
            SymmetryError: if there is no such generator.
        """
        return number_of(step, self.names)  # type: ignore[arg-type]

    def inverted(self) -> "MatrixGraph":
        """The graph with every edge turned round: the inverse generators, from the same start."""
        turned = [exact_inverse(matrix, self.modulus) for matrix in self.generators]
        return replace(self, generators=turned, title=f"{self.title}, inverted")

    def _reduced(self, matrices: NDArray[np.int64]) -> NDArray[np.int64]:
        return matrices if self.modulus is None else matrices % self.modulus


def exact_determinant(rows: Sequence[Sequence[int]]) -> int:
    """The determinant of an integer matrix in exact arithmetic, by Bareiss's elimination without fractions."""
    matrix = [list(row) for row in rows]
    sign, previous = 1, 1
    for column in range(len(matrix) - 1):
        pivot = next((row for row in range(column, len(matrix)) if matrix[row][column]), None)
        if pivot is None:
            return 0
        if pivot != column:
            matrix[column], matrix[pivot] = matrix[pivot], matrix[column]
            sign = -sign
        for row in range(column + 1, len(matrix)):
            for entry in range(column + 1, len(matrix)):
                product = matrix[row][entry] * matrix[column][column] - matrix[row][column] * matrix[column][entry]
                matrix[row][entry] = product // previous
        previous = matrix[column][column]
    return sign * matrix[-1][-1]


def exact_inverse(rows: Sequence[Sequence[int]], modulus: int | None) -> tuple[tuple[int, ...], ...]:
    """The inverse of an integer matrix, modulo m or among the integers: adj(M) / det(M), no fractions and no floats.

    Args:
        rows: a square matrix whose determinant has an inverse: prime to the modulus, or 1 or -1 without one.
        modulus: m, or None for exact integers.
    """
    size = len(rows)
    determinant = exact_determinant(rows)
    scale = determinant if modulus is None else pow(determinant, -1, modulus)
    adjugate = tuple(
        tuple((-1) ** (row + column) * _minor(rows, column, row) * scale for column in range(size))
        for row in range(size)
    )
    return _rows(adjugate, modulus)


def _minor(rows: Sequence[Sequence[int]], row: int, column: int) -> int:
    """The determinant without that row and column; 1 if nothing is left."""
    kept = [
        [entry for at, entry in enumerate(line) if at != column] for number, line in enumerate(rows) if number != row
    ]
    return exact_determinant(kept) if kept else 1


def _rows(matrix: Sequence[Sequence[int]] | NDArray[np.integer], modulus: int | None) -> tuple[tuple[int, ...], ...]:
    rows = tuple(integers(row, "a matrix's row") for row in matrix)
    if modulus is not None:
        return tuple(tuple(entry % modulus for entry in row) for row in rows)
    if any(abs(entry) >= _WIDE for row in rows for entry in row):
        raise SymmetryError("An entry of a matrix does not fit into 64 bits; give a modulus, or smaller entries.")
    return rows

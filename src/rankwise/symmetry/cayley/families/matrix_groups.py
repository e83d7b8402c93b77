# SPDX-License-Identifier: Apache-2.0
"""Families of integer matrices, modulo m or over the integers: Heisenberg groups and special linear groups.

With E(i, j) the matrix with a single 1 in row i and column j, all counted from 0, an elementary matrix is
e(i, j) = 1 + E(i, j); its inverse is 1 - E(i, j). Over the integers the groups are infinite, and a search needs a bound
on the distance. Modulo 2 an elementary matrix is its own inverse and stands once.
"""

from rankwise.symmetry.cayley.families.building import require
from rankwise.symmetry.cayley.families.registry import family
from rankwise.symmetry.cayley.matrices import MatrixGraph

Rows = list[list[int]]


@family
def heisenberg(n: int, modulus: int | None = None, inverses: bool = True) -> MatrixGraph:
    """The Heisenberg group of n x n matrices: e(0, i) and e(i, n-1) for 0 < i < n-1; with their inverses if asked.

    Order: m^(2n-3) modulo m; infinite over the integers.
    Diameter: for n = 3 with inverses m-1 for odd m >= 9 (m+1 for m = 3, 5, 7) and m for even m >= 8.
    Source: arXiv 2509.19162.

    Raises:
        SymmetryError: if n < 3, or the modulus is below 2 or so large that products could leave 64 bits.
    """
    require(n >= 3, f"heisenberg(n={n})", "entries stand in the top row and the last column, so n >= 3.")
    inner = range(1, n - 1)
    roots = [(f"x{i}", 0, i) for i in inner] + [(f"y{i}", i, n - 1) for i in inner]
    moves = [(name, _elementary(n, row, column, 1)) for name, row, column in roots]
    if inverses:
        moves += [(f"{name}^-1", _elementary(n, row, column, -1)) for name, row, column in roots]
    return _assembled(f"Heisenberg n={n}{'' if inverses else ', directed'}", moves, modulus)


@family
def special_linear_fundamental_roots(n: int, modulus: int | None = None) -> MatrixGraph:
    """SL(n) by its fundamental roots: e(i, i+1), e(i+1, i) and their inverses.

    Order: p^(n(n-1)/2) (p^2 - 1)(p^3 - 1)...(p^n - 1) modulo a prime p; infinite over the integers.
    Source: Steinberg, Lectures on Chevalley Groups, 1968; arXiv 2509.19162.

    Raises:
        SymmetryError: if n < 2, or the modulus is below 2 or so large that products could leave 64 bits.
    """
    require(n >= 2, f"special_linear_fundamental_roots(n={n})", "a root takes two rows, so n >= 2.")
    places = [(i, j) for first in range(n - 1) for i, j in ((first, first + 1), (first + 1, first))]
    moves = [_root(n, row, column, sign) for row, column in places for sign in (1, -1)]
    return _assembled(f"SL({n}) fundamental roots", moves, modulus)


@family
def special_linear_root_weyl(n: int, modulus: int | None = None) -> MatrixGraph:
    """SL(n) by one root e(0, 1) and a Coxeter element w of the Weyl group, and their inverses.

    w has its ones above the diagonal and (-1)^(n-1) in the lower left corner, so that its determinant is 1.

    Order: p^(n(n-1)/2) (p^2 - 1)(p^3 - 1)...(p^n - 1) modulo a prime p; infinite over the integers.
    Source: Steinberg, Generators for simple groups, 1962; arXiv 2509.19162.

    Raises:
        SymmetryError: if n < 2, or the modulus is below 2 or so large that products could leave 64 bits.
    """
    require(n >= 2, f"special_linear_root_weyl(n={n})", "a root takes two rows, so n >= 2.")
    weyl = [[int(column == row + 1) for column in range(n)] for row in range(n)]
    weyl[-1][0] = (-1) ** (n - 1)
    turned = [list(column) for column in zip(*weyl, strict=True)]
    moves = [_root(n, 0, 1, 1), _root(n, 0, 1, -1), ("w", weyl), ("w^-1", turned)]
    return _assembled(f"SL({n}) root and Weyl element", moves, modulus)


def _elementary(n: int, row: int, column: int, entry: int) -> Rows:
    matrix = [[int(i == j) for j in range(n)] for i in range(n)]
    matrix[row][column] = entry
    return matrix


def _root(n: int, row: int, column: int, sign: int) -> tuple[str, Rows]:
    return f"e({row},{column}){'' if sign > 0 else '^-1'}", _elementary(n, row, column, sign)


def _assembled(title: str, moves: list[tuple[str, Rows]], modulus: int | None) -> MatrixGraph:
    """The graph, with generators that coincide modulo m kept once."""
    every = MatrixGraph([matrix for _, matrix in moves], modulus)
    names: dict[object, str] = {}
    for matrix, (name, _) in zip(every.generators, moves, strict=True):
        names.setdefault(matrix, name)
    full = title if modulus is None else f"{title} modulo {modulus}"
    return MatrixGraph(list(names), modulus, names=list(names.values()), title=full)  # type: ignore[arg-type]

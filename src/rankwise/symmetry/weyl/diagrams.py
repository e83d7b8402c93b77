# SPDX-License-Identifier: Apache-2.0
"""The Cartan matrices of finite and affine type, A_ij = <alpha_i^vee, alpha_j>.

Finite types are in Bourbaki's order (Lie groups and Lie algebras, plates I to IX), counted from 0. Affine types have
the new node 0 first and the finite diagram's nodes after it. The untwisted ones join the lowest root -theta to the
finite diagram; the twisted ones are their transposes, and A_2l^(2) is written down (Kac, Infinite dimensional Lie
algebras, chapter 4).
"""

from rankwise.symmetry.weyl.roots import Matrix, positive_roots, symmetrizer


def finite_matrix(letter: str, rank: int) -> Matrix:
    """The Cartan matrix of a finite type, for example ("E", 8)."""
    matrix = [[2 if i == j else 0 for j in range(rank)] for i in range(rank)]
    for i, j in _bonds(letter, rank):
        matrix[i][j] = matrix[j][i] = -1
    if letter == "B":
        matrix[rank - 1][rank - 2] = -2
    elif letter == "C":
        matrix[rank - 2][rank - 1] = -2
    elif letter == "F":
        matrix[2][1] = -2
    elif letter == "G":
        matrix[0][1] = -3
    return tuple(map(tuple, matrix))


def affine_matrix(letter: str, rank: int, twist: int) -> Matrix:
    """The generalized Cartan matrix of an affine type X_rank^(twist) in Kac's notation, for example ("D", 4, 3)."""
    if twist == 1:
        return _extended(finite_matrix(letter, rank))
    if letter == "A" and rank % 2 == 0:
        return _even(rank // 2)
    base = {"A": ("B", (rank + 1) // 2), "D": ("C", rank - 1), "E": ("F", 4)}[letter] if twist == 2 else ("G", 2)
    return tuple(zip(*_extended(finite_matrix(*base)), strict=True))


def _bonds(letter: str, rank: int) -> list[tuple[int, int]]:
    if letter == "D":
        return [(i, i + 1) for i in range(rank - 2)] + [(rank - 3, rank - 1)]
    if letter == "E":
        return [(0, 2), (1, 3), (2, 3)] + [(i, i + 1) for i in range(3, rank - 1)]
    return [(i, i + 1) for i in range(rank - 1)]


def _extended(matrix: Matrix) -> Matrix:
    """The matrix with -theta in front, theta the highest root."""
    scale, theta = symmetrizer(matrix), positive_roots(matrix)[-1]
    assert scale is not None
    pairings = [
        sum(entry * part for entry, part in zip(row, theta, strict=True)) for row in matrix
    ]  # <alpha_i^vee, theta>
    half = sum(part * size * pairing for part, size, pairing in zip(theta, scale, pairings, strict=True)) // 2
    coroot = [size * pairing // half for size, pairing in zip(scale, pairings, strict=True)]  # <theta^vee, alpha_i>
    first = (2, *(-entry for entry in coroot))
    return (first, *((-pairing, *row) for pairing, row in zip(pairings, matrix, strict=True)))


def _even(half: int) -> Matrix:
    """A_2l^(2): both multiple bonds point the same way."""
    if half == 1:
        return ((2, -4), (-1, 2))
    matrix = [list(row) for row in finite_matrix("A", half + 1)]
    matrix[0][1] = matrix[half - 1][half] = -2
    return tuple(map(tuple, matrix))

# SPDX-License-Identifier: Apache-2.0
"""Positive roots of a Cartan matrix of finite type, in coordinates of the simple roots.

Every positive root that is not simple has a simple coroot on which it is positive, so reflecting upwards from the
simple roots finds all of them: s_i adds -<alpha_i^vee, beta> to coordinate i (Kac, Infinite dimensional Lie algebras,
section 1.3). An infinite root system has no end; the caller asks for finite type.
"""

from math import gcd

Vector = tuple[int, ...]
Matrix = tuple[Vector, ...]


def positive_roots(matrix: Matrix) -> tuple[Vector, ...]:
    """The positive roots of a matrix of finite type, by height and then in reverse lexicographic order."""
    size = len(matrix)
    found = [tuple(int(i == j) for j in range(size)) for i in range(size)]
    seen = set(found)
    for root in found:  # grows while it is read
        for i, row in enumerate(matrix):
            product = sum(entry * part for entry, part in zip(row, root, strict=True))
            if product < 0:
                higher = (*root[:i], root[i] - product, *root[i + 1 :])
                if higher not in seen:
                    seen.add(higher)
                    found.append(higher)
    return tuple(sorted(found, key=lambda root: (sum(root), tuple(-part for part in root))))


def symmetrizer(matrix: Matrix) -> Vector | None:
    """The least positive integers d with d_i A_ij = d_j A_ji on every component; None if there are none."""
    size = len(matrix)
    scale = [0] * size
    for first in range(size):
        if scale[first]:
            continue
        scale[first], reached = 1, [first]
        for i in reached:  # grows while it is read
            for j in range(size):
                if j == i or not matrix[i][j]:
                    continue
                if not scale[j]:
                    _multiply(scale, reached, -matrix[j][i])
                    scale[j] = scale[i] * matrix[i][j] // matrix[j][i]
                    reached.append(j)
        _reduce(scale, reached)
    balanced = all(scale[i] * matrix[i][j] == scale[j] * matrix[j][i] for i in range(size) for j in range(i))
    return tuple(scale) if balanced else None


def _multiply(scale: list[int], nodes: list[int], factor: int) -> None:
    for node in nodes:
        scale[node] *= factor


def _reduce(scale: list[int], nodes: list[int]) -> None:
    divisor = gcd(*(scale[node] for node in nodes))
    for node in nodes:
        scale[node] //= divisor

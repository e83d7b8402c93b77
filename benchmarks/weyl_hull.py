"""Faces of a hull by computing the hull: what `rankwise.symmetry.weyl` is checked and measured against.

Points become (1, c), rays (0, d), which span a cone without lines. It is cut by a plane, scipy (Qhull) triangulates the
cut's boundary, simplices are merged into facets by what lies on them, facets are intersected until nothing new appears,
and a face's dimension is the exact rank of its generators. Nothing here knows about roots or reflections.
"""

from collections import Counter
from math import gcd

import numpy as np
from scipy.optimize import linprog
from scipy.spatial import ConvexHull

Rows = list[tuple[int, ...]]


def homogeneous(points: Rows, rays: Rows) -> Rows:
    """The generators of the cone over a polyhedron."""
    return [(1, *point) for point in points] + [(0, *ray) for ray in rays]


def rank(rows: Rows) -> int:
    """The rank over the rational numbers, by elimination in integers."""
    basis: list[tuple[int, list[int]]] = []
    for row in rows:
        left = list(row)
        for pivot, other in basis:
            if left[pivot]:
                a, b = other[pivot], left[pivot]
                left = [a * x - b * y for x, y in zip(left, other, strict=True)]
        lead = next((place for place, entry in enumerate(left) if entry), None)
        if lead is not None:
            divisor = gcd(*left)
            basis.append((lead, [entry // divisor for entry in left]))
            if len(basis) == len(row):
                break
    return len(basis)


def cone_faces(rows: Rows) -> dict[int, int]:
    """The faces of a cone without lines, but for its apex: bit mask of the generators on it -> dimension."""
    dimension, everything = rank(rows), (1 << len(rows)) - 1
    facets = {mask for mask in _candidates(rows, dimension) if rank(chosen(rows, mask)) == dimension - 1}
    found, fresh = {everything}, {everything}
    while fresh:
        fresh = {mask & facet for mask in fresh for facet in facets} - found - {0}
        found |= fresh
    return {mask: rank(chosen(rows, mask)) for mask in found}


def polyhedron_faces(points: Rows, rays: Rows) -> dict[int, int]:
    """The nonempty faces of a polyhedron: bit mask of the points and rays on it -> dimension."""
    vertices = (1 << len(points)) - 1
    return {mask: size - 1 for mask, size in cone_faces(homogeneous(points, rays)).items() if mask & vertices}


def f_vector(points: Rows, rays: Rows) -> tuple[int, ...]:
    """The number of faces of each dimension, as many as the space has."""
    counts = Counter(polyhedron_faces(points, rays).values())
    return tuple(counts[size] for size in range(len(points[0]) + 1))


def chosen(rows: Rows, mask: int) -> Rows:
    """The rows of a bit mask."""
    return [row for place, row in enumerate(rows) if mask >> place & 1]


def _candidates(rows: Rows, dimension: int) -> set[int]:
    """Sets of generators on a plane that bounds the cone: all facets, and perhaps more through rounding."""
    if dimension == 1:
        return set()
    matrix = np.array(rows, dtype=float)
    cut = matrix / (matrix @ _positive(matrix))[:, None]
    centered = cut - cut.mean(0)
    flat = centered @ np.linalg.svd(centered, full_matrices=False)[2][: dimension - 1].T
    if dimension == 2:
        sides = [flat[:, 0] - flat.min(), flat.max() - flat[:, 0]]
        incidence = np.abs(np.array(sides)) < 1e-9
    else:
        equations = ConvexHull(flat).equations
        incidence = np.abs(equations[:, :-1] @ flat.T + equations[:, -1:]) < 1e-9
    return {sum(1 << int(place) for place in np.flatnonzero(row)) for row in np.unique(incidence, axis=0)}


def _positive(matrix: np.ndarray) -> np.ndarray:
    """A functional that is at least 1 on every generator."""
    size = matrix.shape[1]
    answer = linprog(np.zeros(size), A_ub=-matrix, b_ub=-np.ones(len(matrix)), bounds=[(None, None)] * size)
    assert answer.success, "the cone has no lines"
    return answer.x

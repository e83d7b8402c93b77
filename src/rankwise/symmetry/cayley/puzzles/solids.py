# SPDX-License-Identifier: Apache-2.0
"""The solids that puzzles are cut from, by their vertices: faces and edges follow from distances.

Each solid has its center at the origin and unit distance from there to its faces, so that a cut at depth 1 along a
face's normal touches the face only.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray

_GOLDEN = (1 + 5**0.5) / 2


class Solid:
    """A regular solid.

    Args:
        vertices: of any size, [vertices, 3].
        normals: one direction for each face, [faces, 3].
    """

    def __init__(self, vertices: NDArray[np.float64], normals: NDArray[np.float64]) -> None:
        normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
        self.normals = normals
        self.vertices = vertices / (vertices @ normals[0]).max()

    @property
    def corner_axes(self) -> NDArray[np.float64]:
        """Unit vectors to the vertices, [vertices, 3]."""
        return self.vertices / np.linalg.norm(self.vertices, axis=1, keepdims=True)

    def corner_stickers(self, share: float) -> NDArray[np.float64]:
        """A point for each vertex of each face, that share of the way from the face's center to the vertex."""
        faces, corners = np.nonzero(self._incident)
        return self.normals[faces] + share * (self.vertices[corners] - self.normals[faces])

    def edge_stickers(self, share: float) -> NDArray[np.float64]:
        """A point for each edge of each face, that share of the way from the face's center to the edge's middle."""
        points = []
        for normal, on_face in zip(self.normals, self._incident, strict=True):
            corners = self.vertices[on_face]
            gaps = np.linalg.norm(corners[:, None] - corners[None], axis=-1)
            first, second = np.nonzero(np.triu(np.isclose(gaps, gaps[gaps > 1e-9].min())))
            points.append(normal + share * ((corners[first] + corners[second]) / 2 - normal))
        return np.concatenate(points)

    @property
    def _incident(self) -> NDArray[np.bool_]:
        return np.isclose(self.normals @ self.vertices.T, 1)


def tetrahedron() -> Solid:
    """Four faces, four vertices; the vertices lie opposite the faces."""
    vertices = np.array([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)], dtype=np.float64)
    return Solid(vertices, -vertices)


def cube() -> Solid:
    """Six faces, eight vertices."""
    normals = np.array([(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)], dtype=np.float64)
    return Solid(np.array(list(product((1.0, -1.0), repeat=3))), normals)


def dodecahedron() -> Solid:
    """Twelve faces, twenty vertices: those of a cube and of three rectangles; the faces look along an icosahedron's."""
    signs = list(product((1.0, -1.0), repeat=2))
    rectangles = [(0.0, first / _GOLDEN, second * _GOLDEN) for first, second in signs]
    directions = [(0.0, first * _GOLDEN, second) for first, second in signs]
    vertices = [*product((1.0, -1.0), repeat=3), *_turned_round(rectangles)]
    return Solid(np.array(vertices), np.array(_turned_round(directions)))


def _turned_round(points: list[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    """The points with their coordinates in each of the three cyclic orders."""
    return [turned for x, y, z in points for turned in ((x, y, z), (y, z, x), (z, x, y))]

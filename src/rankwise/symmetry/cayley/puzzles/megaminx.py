# SPDX-License-Identifier: Apache-2.0
"""Dodecahedra: the megaminx turns faces, the starminx corners.

The starminx is cut through the diagonals of its faces, so that a face shows a star: the plane of a corner goes through
the corner's three neighbors.
"""

from math import pi, sqrt
from string import ascii_uppercase

import numpy as np

from rankwise.symmetry.cayley.families.registry import family
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.puzzles.solids import dodecahedron
from rankwise.symmetry.cayley.puzzles.turning import Turn, both_ways, puzzle


@family
def megaminx() -> PermutationGraph:
    """Fifth turns of the dodecahedron's 12 faces (A to L), both ways.

    Order: 20! 3^19 30! 2^27 = 1.0067e68.
    Source: https://www.jaapsch.net/puzzles/megaminx.htm
    """
    solid = dodecahedron()
    stickers = np.concatenate([solid.corner_stickers(0.9), solid.edge_stickers(0.9)])
    faces = {name: Turn(axis, 0.7, 2 * pi / 5) for name, axis in zip(ascii_uppercase, solid.normals, strict=False)}
    return puzzle(stickers, both_ways(faces), "megaminx")


@family
def starminx() -> PermutationGraph:
    """Third turns of the dodecahedron's 20 corners (A to T), both ways: each with its piece and three edges.

    Order: (30!/2) 2^29 3^20: even permutations of the edges, flips in pairs, and each corner's piece by itself.
    Source: Dodecahedron turned about its vertices at the depth of PuzzleGeometry, https://alpha.twizzle.net/explore/
    """
    solid = dodecahedron()
    stickers = np.concatenate([solid.corner_stickers(0.6), solid.edge_stickers(0.7)])
    axes = solid.corner_axes
    depth = float(np.linalg.norm(solid.vertices[0])) * sqrt(5) / 3  # neighbors see each other at the cosine sqrt(5)/3
    corners = {name: Turn(axis, depth, 2 * pi / 3) for name, axis in zip(ascii_uppercase, axes, strict=False)}
    return puzzle(stickers, both_ways(corners), "starminx")

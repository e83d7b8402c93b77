# SPDX-License-Identifier: Apache-2.0
"""The pyraminx and the tetraminx: a tetrahedron cut parallel to its faces at thirds of its height.

With unit distance from the center to a face the height is 4: layers of thickness 4/3 begin at depth 1/3 and 5/3 along
the axis of a corner. The points are the centers of the nine triangles of a face.
"""

from math import pi

import numpy as np

from rankwise.symmetry.cayley.families.registry import family
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.puzzles.solids import tetrahedron
from rankwise.symmetry.cayley.puzzles.turning import Turn, both_ways, puzzle

_CORNERS = "ULRB"


@family
def pyraminx() -> PermutationGraph:
    """Third turns of the tetrahedron's 4 corners (U, L, R, B) and of their tips (u, l, r, b), both ways.

    Order: 75,582,720 = 3^4 * 933,120, for each tip turns by itself.
    Diameter: 15, the 11 of the tetraminx and 4 tips.
    Source: https://www.jaapsch.net/puzzles/pyraminx.htm
    """
    solid = tetrahedron()
    stickers = [solid.corner_stickers(2 / 3), solid.corner_stickers(1 / 3), solid.edge_stickers(2 / 3)]
    corners = {name: Turn(axis, 1 / 3, 2 * pi / 3) for name, axis in zip(_CORNERS, solid.corner_axes, strict=True)}
    tips = {name.lower(): turn._replace(depth=5 / 3) for name, turn in corners.items()}
    return puzzle(np.concatenate(stickers), both_ways(corners | tips), "pyraminx")


@family
def tetraminx() -> PermutationGraph:
    """Third turns of the 4 corners of a pyraminx without its tips, both ways.

    Order: 933,120.
    Diameter: 11.
    Source: https://www.jaapsch.net/puzzles/pyraminx.htm
    """
    solid = tetrahedron()
    stickers = np.concatenate([solid.corner_stickers(1 / 3), solid.edge_stickers(2 / 3)])
    corners = {name: Turn(axis, 1 / 3, 2 * pi / 3) for name, axis in zip(_CORNERS, solid.corner_axes, strict=True)}
    return puzzle(stickers, both_ways(corners), "tetraminx")

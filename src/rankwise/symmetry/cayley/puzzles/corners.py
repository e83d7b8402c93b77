# SPDX-License-Identifier: Apache-2.0
"""Cubes that turn about corners: the skewb, cut through the center, and the dino cube, through the faces' middles.

Their pieces have no natural frame, so one piece is held still to count positions and not ways to lay them on a table:
a turn that would move it turns the rest the other way, which is the same turn of the puzzle seen from the held piece.
"""

from math import pi, sqrt

import numpy as np

from rankwise.symmetry.cayley.families.registry import family
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.puzzles.solids import cube
from rankwise.symmetry.cayley.puzzles.turning import Turn, both_ways, puzzle

_THROUGH_FACES = 1 / sqrt(3)  # the depth of the middle of a face along the axis of its corner


@family
def skewb() -> PermutationGraph:
    """Third turns of the four halves of the cube without the corner RUF, which is held still, both ways.

    Order: 3,149,280.
    Diameter: 11.
    Source: https://www.jaapsch.net/puzzles/skewb.htm
    """
    solid = cube()
    stickers = np.concatenate([solid.corner_stickers(0.9), solid.normals])
    halves = {name: Turn(axis, 0.0, 2 * pi / 3) for name, axis in _named_corners().items() if axis.sum() < 0}
    return puzzle(stickers, both_ways(halves), "skewb")


@family
def dino_cube() -> PermutationGraph:
    """Third turns of the cube's 8 corners, three edges each, both ways; the position in space counts.

    Order: 12!/2 = 239,500,800, every even permutation of the edges.
    Source: https://www.jaapsch.net/puzzles/dinocube.htm
    """
    turns = {name: Turn(axis, _THROUGH_FACES, 2 * pi / 3) for name, axis in _named_corners().items()}
    return puzzle(cube().edge_stickers(0.7), both_ways(turns), "dino cube")


@family
def dino_cube_fixed() -> PermutationGraph:
    """The dino cube with the edge RU held still: its two corners turn the other nine edges the other way instead.

    Order: 11!/2 = 19,958,400.
    Diameter: 11.
    Source: https://www.jaapsch.net/puzzles/dinocube.htm
    """
    turns = {}
    for name, axis in _named_corners().items():
        moves_held = axis[0] > 0 and axis[1] > 0
        side = -1 if moves_held else 1
        turns[name] = Turn(side * axis, side * _THROUGH_FACES, 2 * pi / 3)
    return puzzle(cube().edge_stickers(0.7), both_ways(turns), "dino cube held still")


def _named_corners() -> dict[str, np.ndarray]:
    """The axes of the cube's corners by the faces that meet there: R, U, F are positive x, y, z."""
    ends = ("RL", "UD", "FB")
    return {
        "".join(end[0 if part > 0 else 1] for end, part in zip(ends, axis, strict=True)): axis
        for axis in cube().corner_axes
    }

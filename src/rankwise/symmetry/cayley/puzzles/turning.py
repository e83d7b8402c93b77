# SPDX-License-Identifier: Apache-2.0
"""Turning puzzles from geometry: stickers are points of a solid, a turn rotates those on one side of a plane.

A point inside every region into which the cuts divide the surface is a sticker. The turn about the unit axis a at depth
d by the angle t takes each sticker with a . x > d to R(a, t) x; which sticker's place that is, is found as the nearest
point, and the result must be a permutation. Nothing is typed in but the solid and the depth of the cuts. Stickers that
no turn moves are left out of the state.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from rankwise.symmetry.cayley.graph import PermutationGraph

_NEAR = 1e-6  # places are further apart than a tenth of the solid; rounding stays below 1e-12


class Turn(NamedTuple):
    """A rotation of one side of a cut, counterclockwise as seen from the axis's end.

    Attributes:
        axis: direction from the center, [3].
        depth: distance of the cut from the center, along the axis in units of its length.
        angle: in radians.
    """

    axis: Sequence[float] | NDArray[np.float64]
    depth: float
    angle: float


def rotation(axis: Sequence[float] | NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """The matrix [3, 3] of a rotation about an axis, by Rodrigues's formula."""
    x, y, z = np.asarray(axis, dtype=np.float64) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def turned(stickers: NDArray[np.float64], turn: Turn) -> NDArray[np.int64]:
    """The permutation of sticker places that a turn is: `y[i] = x[p[i]]`."""
    axis = np.asarray(turn.axis, dtype=np.float64) / np.linalg.norm(turn.axis)
    side = np.flatnonzero(stickers @ axis > turn.depth)
    distances, places = KDTree(stickers).query(stickers[side] @ rotation(axis, turn.angle).T)
    permutation = np.arange(len(stickers))
    permutation[places] = side
    whole = np.array_equal(np.sort(places), side)
    assert whole and distances.max(initial=0.0) < _NEAR, "the stickers do not go onto each other: the cuts are wrong"
    return permutation


def both_ways(turns: Mapping[str, Turn]) -> dict[str, Turn]:
    """Each turn clockwise under its name, and counterclockwise under its name and a prime."""
    return {
        name + prime: turn._replace(angle=direction * turn.angle)
        for name, turn in turns.items()
        for prime, direction in (("", -1), ("'", 1))
    }


def puzzle(stickers: NDArray[np.float64], turns: Mapping[str, Turn], title: str) -> PermutationGraph:
    """The graph of a turning puzzle: one generator for each turn, on the stickers that some turn moves.

    Args:
        stickers: one point inside each region of the surface, [stickers, 3].
        turns: by name.
        title: of the graph.
    """
    return moved(np.array([turned(stickers, turn) for turn in turns.values()]), list(turns), title)


def moved(permutations: NDArray[np.int64], names: Sequence[str], title: str) -> PermutationGraph:
    """The graph of permutations [generators, places] without the places that none of them moves."""
    places = np.flatnonzero((permutations != np.arange(permutations.shape[1])).any(axis=0))
    return PermutationGraph(np.searchsorted(places, permutations[:, places]).tolist(), names=names, title=title)

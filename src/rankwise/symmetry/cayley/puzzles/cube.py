# SPDX-License-Identifier: Apache-2.0
"""N x N x N cubes in quarter- and half-turn metric, from integer coordinates: no list of stickers is typed in.

A sticker lies at an integer point: N (or -N) along its face's axis and N-1, N-3, ..., 1-N along the other two. Layer
k of an axis turns by exact rotations of those points. Centers of faces larger than 3 x 3 are told apart, as on a cube
with a picture; a start of 6 repeated letters, one for each face, gives the cube with plain colors.
"""

from collections.abc import Iterable
from itertools import product

import numpy as np
from numpy.typing import NDArray

from rankwise.symmetry.cayley.families.building import require, require_room
from rankwise.symmetry.cayley.families.registry import family
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.puzzles.turning import moved

_ENDS = ("RL", "UD", "FB")  # of the axes x, y, z, which point to the right, up and to the viewer
_MIDDLES = "MES"  # turned as L, D and F


@family
def cube_quarter(n: int) -> PermutationGraph:
    """Quarter turns of each of the n layers of each axis, both ways; the cube's position in space counts.

    Order: 88,179,840 for n = 2 and 24 * 43,252,003,274,489,856,000 for n = 3: 24 times that of `cube_fixed_quarter`.
    Source: https://www.jaapsch.net/puzzles/cube2.htm, cube3.htm; the slice quarter turn metric of arXiv 2509.19162.

    Raises:
        SymmetryError: if n < 2.
    """
    return _cube("cube_quarter", n, (1, 3), range(n))


@family
def cube_half(n: int) -> PermutationGraph:
    """Quarter and half turns of each of the n layers of each axis; the cube's position in space counts.

    Order: that of `cube_quarter`.
    Source: https://www.jaapsch.net/puzzles/cube2.htm, cube3.htm

    Raises:
        SymmetryError: if n < 2.
    """
    return _cube("cube_half", n, (1, 2, 3), range(n))


@family
def cube_fixed_quarter(n: int) -> PermutationGraph:
    """Quarter turns of the layers that leave the centers (odd n) or the corner DLB (even n) where they are.

    Order: 3,674,160 for n = 2, 43,252,003,274,489,856,000 for n = 3.
    Diameter: 14 for n = 2, 26 for n = 3.
    Source: Rokicki and Davidson, God's number is 26 in the quarter-turn metric, 2014, https://www.cube20.org/qtm/

    Raises:
        SymmetryError: if n < 2.
    """
    return _cube("cube_fixed_quarter", n, (1, 3), _free(n))


@family
def cube_fixed_half(n: int) -> PermutationGraph:
    """Quarter and half turns of the layers that leave the centers (odd n) or the corner DLB (even n) where they are.

    Order: that of `cube_fixed_quarter`.
    Diameter: 11 for n = 2, 20 for n = 3.
    Source: Rokicki, Kociemba, Davidson and Dethridge, The diameter of the Rubik's cube group is twenty, 2013.

    Raises:
        SymmetryError: if n < 2.
    """
    return _cube("cube_fixed_half", n, (1, 2, 3), _free(n))


def _free(n: int) -> list[int]:
    """The layers, counted from the positive end of their axis, that leave the held piece where it is."""
    return [layer for layer in range(n) if layer != (n // 2 if n % 2 else n - 1)]


def _cube(name: str, n: int, quarters: tuple[int, ...], layers: Iterable[int]) -> PermutationGraph:
    require(n >= 2, f"{name}(n={n})", "a cube that turns has at least 2 layers along each axis, so n >= 2.")
    layers = list(layers)
    require_room(f"{name}(n={n})", 3 * len(layers) * len(quarters), 6 * n * n)
    stickers = _stickers(n)
    permutations, names = [], []
    for axis, layer in product(range(3), layers):
        layer_name, clockwise = _name(n, axis, layer)
        for count in quarters:
            permutations.append(_turned(stickers, axis, layer, count * clockwise))
            names.append(layer_name + {1: "", 2: "2", 3: "'"}[count])
    return moved(np.array(permutations), names, f"{name.replace('_', ' ')} n={n}")


def _stickers(n: int) -> NDArray[np.int64]:
    """The places of the 6 n^2 stickers, [stickers, 3]."""
    across = np.arange(n - 1, -n, -2)
    first, second = (grid.ravel() for grid in np.meshgrid(across, across, indexing="ij"))
    return np.concatenate(
        [np.insert(np.stack([first, second], axis=1), axis, side * n, axis=1) for axis in range(3) for side in (1, -1)]
    )


def _name(n: int, axis: int, layer: int) -> tuple[str, int]:
    """A layer's name, and whether its clockwise turn is one against (-1) or with (+1) the axis's right hand."""
    if 2 * layer == n - 1:
        return _MIDDLES[axis], -1 if axis == 2 else 1
    positive = 2 * layer < n - 1
    depth = layer + 1 if positive else n - layer
    return (str(depth) if depth > 1 else "") + _ENDS[axis][0 if positive else 1], -1 if positive else 1


def _turned(stickers: NDArray[np.int64], axis: int, layer: int, quarters: int) -> NDArray[np.int64]:
    """The permutation of places that turns a layer by so many quarters about the axis's right hand."""
    n = int(stickers.max())
    side = np.flatnonzero(np.clip(stickers[:, axis], 1 - n, n - 1) == n - 1 - 2 * layer)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    points = stickers[side]
    for _ in range(quarters % 4):
        points[:, first], points[:, second] = -points[:, second], points[:, first].copy()
    numbers = {tuple(point): number for number, point in enumerate(stickers.tolist())}
    permutation = np.arange(len(stickers))
    permutation[[numbers[tuple(point)] for point in points.tolist()]] = side
    return permutation

# SPDX-License-Identifier: Apache-2.0
"""Puzzles as graphs, built by rule: turning solids from geometry, rings and globes from their rows.

Importing this package puts them into the list of families.
"""

from rankwise.symmetry.cayley.puzzles.corners import dino_cube, dino_cube_fixed, skewb
from rankwise.symmetry.cayley.puzzles.cube import cube_fixed_half, cube_fixed_quarter, cube_half, cube_quarter
from rankwise.symmetry.cayley.puzzles.megaminx import megaminx, starminx
from rankwise.symmetry.cayley.puzzles.pyraminx import pyraminx, tetraminx
from rankwise.symmetry.cayley.puzzles.rings import globe, hungarian_rings

__all__ = [
    "cube_fixed_half",
    "cube_fixed_quarter",
    "cube_half",
    "cube_quarter",
    "dino_cube",
    "dino_cube_fixed",
    "globe",
    "hungarian_rings",
    "megaminx",
    "pyraminx",
    "skewb",
    "starminx",
    "tetraminx",
]

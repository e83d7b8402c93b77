# SPDX-License-Identifier: Apache-2.0
"""Puzzles of rings and rows, Hungarian rings and globes: their permutations are cycles and flips."""

import numpy as np

from rankwise.symmetry.cayley.families.building import assembled, require, require_room
from rankwise.symmetry.cayley.families.registry import family
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.permutations import from_cycles, inverse


@family
def hungarian_rings(left: int = 20, right: int = 20, left_gap: int = 5, right_gap: int = 5) -> PermutationGraph:
    """Two rings of beads that cross in two places; each turns by one bead, both ways: L, L', R, R'.

    The crossings are `left_gap` beads apart on the left ring and `right_gap` on the right one; left + right - 2 beads
    in all. The defaults are the puzzle as sold, whose 38 beads have 4 colors only.

    Order: (left+right-2)! if a ring has an even number of beads, half of it if both are odd; less for some small rings.
    Source: https://www.jaapsch.net/puzzles/hungarian.htm

    Raises:
        SymmetryError: if a gap is not between 1 and its ring's size - 1.
    """
    call = f"hungarian_rings(left={left}, right={right}, left_gap={left_gap}, right_gap={right_gap})"
    fits = 1 <= left_gap < left and 1 <= right_gap < right
    require(fits, call, "a gap is the number of beads from one crossing to the other, from 1 to its ring's size - 1.")
    size = left + right - 2
    require_room(call, 4, size)
    own = list(range(left, size))
    ring = [0, *own[: right_gap - 1], left_gap, *own[right_gap - 1 :]]
    turns = {"L": from_cycles(size, [range(left)]), "R": from_cycles(size, [ring])}
    moves = [move for name, turn in turns.items() for move in ((name, turn), (name + "'", inverse(turn)))]
    return assembled(f"Hungarian rings {left}-{right}", moves)


@family
def globe(a: int, b: int) -> PermutationGraph:
    """Row turns r0, r0', ..., ra, ra' of a + 1 rows of 2b places, and 2b half turns f0, f1, ... of a hemisphere.

    Flip j takes the b columns from j on, exchanges their row i with row a - i and reverses it; a middle row, which
    even a have, stays, as in the puzzles of the Santa 2023 competition.

    Order: found by `graph.order`; 40,320 = 8! for the globe 1/2.
    Source: https://www.kaggle.com/competitions/santa-2023; arXiv 2509.19162.

    Raises:
        SymmetryError: if a or b is below 1.
    """
    call = f"globe(a={a}, b={b})"
    require(a >= 1 and b >= 1, call, "a globe has at least 2 rows (a >= 1) and 2 columns (b >= 1).")
    require_room(call, 2 * (a + 1) + 2 * b, (a + 1) * 2 * b)
    places = np.arange((a + 1) * 2 * b).reshape(a + 1, 2 * b)
    moves = []
    for row in range(a + 1):
        turn = from_cycles(places.size, [places[row].tolist()])
        moves += [(f"r{row}", turn), (f"r{row}'", inverse(turn))]
    for first in range(2 * b):
        columns = np.arange(first, first + b) % (2 * b)
        flipped = places.copy()
        for row in range(a + 1):
            if 2 * row != a:
                flipped[row, columns] = places[a - row, columns[::-1]]
        moves.append((f"f{first}", tuple(flipped.ravel().tolist())))
    return assembled(f"globe {a}/{b}", moves)

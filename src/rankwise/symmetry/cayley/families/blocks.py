# SPDX-License-Identifier: Apache-2.0
"""Families that exchange blocks, stretches of neighboring places that keep their inner order."""

from itertools import combinations, combinations_with_replacement

from rankwise.symmetry.cayley.families.building import assembled, require
from rankwise.symmetry.cayley.families.registry import family
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.permutations import Permutation


@family
def transposons(n: int) -> PermutationGraph:
    """Exchanges of two neighboring blocks: a block is cut out and put in elsewhere.

    Order: n!.
    Diameter: ceil((n+1)/2) for 3 <= n <= 15 but for n = 13 and 15, where it is one more.
    Source: Bafna and Pevzner, Sorting by transpositions, 1998; Elias and Hartman, 2006.

    Raises:
        SymmetryError: if n < 2.
    """
    require(n >= 2, f"transposons(n={n})", "two blocks of one place at least are exchanged, so n >= 2.")
    cuts = combinations(range(n + 1), 3)
    moves = ((f"T[{i}..{j - 1},{j}..{k - 1}]", _exchanged(n, i, j, j, k)) for i, j, k in cuts)
    return assembled(f"transposons n={n}", moves)


@family
def block_interchange(n: int) -> PermutationGraph:
    """Exchanges of any two blocks that do not overlap; what lies between them stays between them.

    Order: n!.
    Diameter: floor(n/2).
    Source: Christie, Sorting permutations by block-interchanges, 1996.

    Raises:
        SymmetryError: if n < 2.
    """
    require(n >= 2, f"block_interchange(n={n})", "two blocks of one place at least are exchanged, so n >= 2.")
    cuts = ((i, j, k, m) for i, j, k, m in combinations_with_replacement(range(n + 1), 4) if i < j and k < m)
    moves = ((f"B[{i}..{j - 1},{k}..{m - 1}]", _exchanged(n, i, j, k, m)) for i, j, k, m in cuts)
    return assembled(f"block interchange n={n}", moves)


def _exchanged(size: int, i: int, j: int, k: int, m: int) -> Permutation:
    """Places i..j-1 and places k..m-1 exchanged."""
    return (*range(i), *range(k, m), *range(j, k), *range(i, j), *range(m, size))

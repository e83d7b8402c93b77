# SPDX-License-Identifier: Apache-2.0
"""Families built from cyclic shifts: LRX and its relatives.

A shift alone generates only a cyclic group; beside it stands one generator that changes the cyclic order.
"""

from rankwise.symmetry.cayley.families.building import assembled, require, reversed_places
from rankwise.symmetry.cayley.families.registry import family
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.permutations import Permutation, from_cycles, inverse


@family
def lrx(n: int, k: int = 1) -> PermutationGraph:
    """Left shift, right shift and the transposition of places 0 and k.

    Order: n! if n and k have no common divisor; with g = gcd(n, k) it is g ((n/g)!)^g.
    Diameter: n(n-1)/2 for n > 3 and k = 1 (searched to n = 15).
    Source: arXiv 2509.19162; OEIS A186783.

    Raises:
        SymmetryError: if not 1 <= k < n.
    """
    require(1 <= k < n, f"lrx(n={n}, k={k})", "the transposition exchanges places 0 and k, so 1 <= k < n.")
    moves = [("L", _left(n)), ("R", inverse(_left(n))), ("X", from_cycles(n, [(0, k)]))]
    return assembled(_title("LRX", n, k, usual=1), moves)


@family
def lx(n: int) -> PermutationGraph:
    """Left shift and the transposition of places 0 and 1; the shift cannot be undone in one step.

    Order: n!.
    Diameter: (3n^2-8n+9)/4 for odd n and (3n^2-8n+12)/4 for even n fit all values known, n = 5..15.
    Source: OEIS A039745; arXiv 2509.19162.

    Raises:
        SymmetryError: if n < 2.
    """
    require(n >= 2, f"lx(n={n})", "the transposition exchanges places 0 and 1, so n >= 2.")
    return assembled(f"LX n={n}", [("L", _left(n)), ("X", from_cycles(n, [(0, 1)]))])


@family
def larx(n: int) -> PermutationGraph:
    """The transposition of places 0 and 1 and the left shift of all places but the first, (1 2 ... n-1).

    Order: n!.
    Source: arXiv 2509.19162.

    Raises:
        SymmetryError: if n < 3.
    """
    require(n >= 3, f"larx(n={n})", "the shift moves places 1..n-1, at least two of them, so n >= 3.")
    return assembled(f"LARX n={n}", [("X", from_cycles(n, [(0, 1)])), ("L", _left(n, first=1))])


@family
def top_spin(n: int, k: int = 4) -> PermutationGraph:
    """Left shift, right shift and the reversal of the first k places, as in the puzzle TopSpin.

    Order: n!/2 if n is odd and k is 0 or 1 modulo 4, else n!; but 2n for k >= n-1 > 2, and at most 2((n/2)!)^2 for
    even n with odd k, which keep odd and even places apart.
    Source: arXiv 2509.19162.

    Raises:
        SymmetryError: if not 2 <= k <= n.
    """
    require(2 <= k <= n, f"top_spin(n={n}, k={k})", "k of the n places are reversed, so 2 <= k <= n.")
    moves = [("L", _left(n)), ("R", inverse(_left(n))), ("X", reversed_places(n, 0, k - 1))]
    return assembled(_title("TopSpin", n, k, usual=4), moves)


@family
def lsl_cycles(n: int, inverses: bool = True) -> PermutationGraph:
    """The long cycle (0 1 ... n-1) and the one shorter by the first place, (1 2 ... n-1); with their inverses if asked.

    Order: n!.
    Source: arXiv 2509.19162.

    Raises:
        SymmetryError: if n < 3.
    """
    require(n >= 3, f"lsl_cycles(n={n})", "the shorter cycle moves places 1..n-1, at least two of them, so n >= 3.")
    moves = [("L", _left(n)), ("S", _left(n, first=1))]
    if inverses:
        moves += [(f"{name}^-1", inverse(permutation)) for name, permutation in moves]
    return assembled(f"LSL n={n}{'' if inverses else ', directed'}", moves)


def _left(size: int, first: int = 0) -> Permutation:
    """The shift that takes each of the places first..size-1 to the left and the letter at `first` to the end."""
    return (*range(first), *range(first + 1, size), first)


def _title(name: str, n: int, k: int, usual: int) -> str:
    return f"{name} n={n}" if k == usual else f"{name} n={n} k={k}"

# SPDX-License-Identifier: Apache-2.0
"""Families of single cycles whose letters may be anywhere: all cycles, 3-cycles and increasing cycles."""

from itertools import combinations, permutations
from math import comb, factorial

from rankwise.symmetry.cayley.families.building import of_cycles, require, require_room
from rankwise.symmetry.cayley.families.registry import family
from rankwise.symmetry.cayley.graph import PermutationGraph


@family
def all_cycles(n: int) -> PermutationGraph:
    """All cycles of length 2..n.

    Order: n!.
    Diameter: 2 for n >= 4: every permutation is a product of two cycles.
    Source: arXiv 2509.19162.

    Raises:
        SymmetryError: if n < 2.
        CapacityError: if the cycles are too many to list, from n = 10 on.
    """
    require(n >= 2, f"all_cycles(n={n})", "a cycle has two letters at least, so n >= 2.")
    title = f"all cycles n={n}"
    require_room(title, sum(comb(n, length) * factorial(length - 1) for length in range(2, n + 1)), n)
    subsets = (letters for length in range(2, n + 1) for letters in combinations(range(n), length))
    products = ([(letters[0], *rest)] for letters in subsets for rest in permutations(letters[1:]))
    return of_cycles(title, n, products)


@family
def three_cycles(n: int) -> PermutationGraph:
    """All 3-cycles (a b c).

    Order: n!/2.
    Diameter: floor(n/2); a permutation with c cycles of odd length, fixed letters included, is at distance (n-c)/2.
    Source: arXiv 2509.19162.

    Raises:
        SymmetryError: if n < 3.
    """
    _at_least_three("three_cycles", n)
    products = ([cycle] for a, b, c in combinations(range(n), 3) for cycle in ((a, b, c), (a, c, b)))
    return of_cycles(f"3-cycles n={n}", n, products)


@family
def three_cycles_0ij(n: int) -> PermutationGraph:
    """All 3-cycles through letter 0, (0 i j).

    Order: n!/2.
    Diameter: floor(floor(3(n-1)/2)/2): layer d is layer 2d of the stars, as (0 i) and (0 j) make a 3-cycle.
    Source: arXiv 2509.19162.

    Raises:
        SymmetryError: if n < 3.
    """
    _at_least_three("three_cycles_0ij", n)
    return of_cycles(f"3-cycles (0 i j) n={n}", n, ([(0, *pair)] for pair in permutations(range(1, n), 2)))


@family
def three_cycles_01i(n: int, inverses: bool = True) -> PermutationGraph:
    """The 3-cycles (0 1 i); with their inverses (0 i 1) if asked, which makes the alternating group graph.

    Order: n!/2.
    Diameter: floor(3(n-2)/2) with inverses.
    Source: Jwo, Lakshmivarahan and Dhall, A new class of interconnection networks based on the alternating group, 1993.

    Raises:
        SymmetryError: if n < 3.
    """
    _at_least_three("three_cycles_01i", n)
    products = [[(0, 1, letter)] for letter in range(2, n)]
    if inverses:
        products += [[(0, letter, 1)] for letter in range(2, n)]
    return of_cycles(f"3-cycles (0 1 i) n={n}{'' if inverses else ', directed'}", n, products)


@family
def increasing_k_cycles(n: int, k: int) -> PermutationGraph:
    """The k-cycles (a b c ...) with a < b < c < ...

    Order: n!/2 if k is odd, n! if k is even, but for k = n, which is a single cycle of order n.
    Source: arXiv 2509.19162.

    Raises:
        SymmetryError: if not 2 <= k <= n.
    """
    require(2 <= k <= n, f"increasing_k_cycles(n={n}, k={k})", "a cycle has 2 to n letters, so 2 <= k <= n.")
    return of_cycles(f"increasing {k}-cycles n={n}", n, ([letters] for letters in combinations(range(n), k)))


def _at_least_three(name: str, n: int) -> None:
    require(n >= 3, f"{name}(n={n})", "a 3-cycle has three letters, so n >= 3.")

# SPDX-License-Identifier: Apache-2.0
"""Families of cycles of neighboring places, (i i+1 ... j): each takes the letter at i out and puts it in behind j.

The other letters move up by one place. No family here but for cycles of two letters holds the inverses.
"""

from itertools import combinations

from rankwise.symmetry.cayley.families.building import of_cycles, require
from rankwise.symmetry.cayley.families.registry import family
from rankwise.symmetry.cayley.graph import PermutationGraph


@family
def consecutive_k_cycles(n: int, k: int) -> PermutationGraph:
    """The cycles of k neighboring places (i i+1 ... i+k-1).

    Order: n!/2 if k is odd, n! if k is even, but for k = n, which is a single cycle of order n.
    Source: arXiv 2509.19162.

    Raises:
        SymmetryError: if not 2 <= k <= n.
    """
    _between("consecutive_k_cycles", n, k)
    return of_cycles(f"consecutive {k}-cycles n={n}", n, ([range(i, i + k)] for i in range(n - k + 1)))


@family
def wrapped_k_cycles(n: int, k: int) -> PermutationGraph:
    """The cycles of k neighboring places on a circle: (i i+1 ... i+k-1) modulo n for each i.

    Order: n!/2 if k is odd, n! if k is even, but for k = n, which is a single cycle of order n.
    Source: arXiv 2509.19162.

    Raises:
        SymmetryError: if not 2 <= k <= n.
    """
    _between("wrapped_k_cycles", n, k)
    cycles = ([[place % n for place in range(first, first + k)]] for first in range(n))
    return of_cycles(f"wrapped {k}-cycles n={n}", n, cycles)


@family
def down_cycles(n: int) -> PermutationGraph:
    """The cycles of any stretch of neighboring places (i i+1 ... j): a letter moves to any place further on.

    Order: n!.
    Diameter: n-1; layer d has as many permutations as have n-d cycles, as for all transpositions.
    Source: arXiv 2509.19162.

    Raises:
        SymmetryError: if n < 2.
    """
    require(n >= 2, f"down_cycles(n={n})", "a letter moves by one place at least, so n >= 2.")
    stretches = combinations(range(n), 2)
    return of_cycles(f"down cycles n={n}", n, ([range(first, last + 1)] for first, last in stretches))


@family
def prefix_cycles(n: int) -> PermutationGraph:
    """The cycles of the first 2, 3, ..., n places (0 1 ... j): the top card goes into the deck at any depth.

    Order: n!.
    Diameter: n-1; layer d > 0 has n!/(n-d)! - n!/(n-d+1)! permutations.
    Source: arXiv 2509.19162; Diaconis, Fill and Pitman, Analysis of top to random shuffles, 1992.

    Raises:
        SymmetryError: if n < 2.
    """
    require(n >= 2, f"prefix_cycles(n={n})", "a letter moves by one place at least, so n >= 2.")
    return of_cycles(f"prefix cycles n={n}", n, ([range(length)] for length in range(2, n + 1)))


def _between(name: str, n: int, k: int) -> None:
    require(2 <= k <= n, f"{name}(n={n}, k={k})", "a cycle has 2 to n letters, so 2 <= k <= n.")

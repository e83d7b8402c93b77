# SPDX-License-Identifier: Apache-2.0
"""Families of transpositions. Drawn as edges between places they form a graph, which names the family.

A path gives the Coxeter generators, a circle the cyclic ones, a complete graph all transpositions, a star the stars and
a complete bipartite graph the generalized ones. Connected graphs generate S_n. All generators are odd, so the layers of
even distance hold the even permutations.
"""

from itertools import combinations, product

from rankwise.symmetry.cayley.families.building import of_cycles, require
from rankwise.symmetry.cayley.families.registry import family
from rankwise.symmetry.cayley.graph import PermutationGraph


@family
def coxeter(n: int) -> PermutationGraph:
    """Transpositions of neighbors (i i+1), as in bubble sort.

    Order: n!.
    Diameter: n(n-1)/2; the growth is the product of 1 + q + ... + q^(i-1) over i = 2..n.
    Source: Coxeter group of type A; Bjorner and Brenti, Combinatorics of Coxeter Groups, 2005.

    Raises:
        SymmetryError: if n < 2.
    """
    _at_least_two("coxeter", n)
    return of_cycles(f"Coxeter n={n}", n, [[(place, place + 1)] for place in range(n - 1)])


@family
def cyclic_coxeter(n: int) -> PermutationGraph:
    """Transpositions of neighbors on a circle: (i i+1) and (0 n-1).

    Order: n!.
    Diameter: floor(n^2/4).
    Source: Jerrum, The complexity of finding minimum-length generator sequences, 1985.

    Raises:
        SymmetryError: if n < 2.
    """
    _at_least_two("cyclic_coxeter", n)
    pairs = [(place, place + 1) for place in range(n - 1)]
    return of_cycles(f"cyclic Coxeter n={n}", n, [[pair] for pair in [*pairs, (0, n - 1)]])


@family
def all_transpositions(n: int) -> PermutationGraph:
    """Transpositions of any two places.

    Order: n!.
    Diameter: n-1; layer d has as many permutations as have n-d cycles, a Stirling number of the first kind.
    Source: Cayley, Note on the theory of permutations, 1849.

    Raises:
        SymmetryError: if n < 2.
    """
    _at_least_two("all_transpositions", n)
    return of_cycles(f"all transpositions n={n}", n, ([pair] for pair in combinations(range(n), 2)))


@family
def stars(n: int) -> PermutationGraph:
    """Transpositions of place 0 with any other, (0 i).

    Order: n!.
    Diameter: floor(3(n-1)/2).
    Source: Akers and Krishnamurthy, A group-theoretic model for symmetric interconnection networks, 1989.

    Raises:
        SymmetryError: if n < 2.
    """
    _at_least_two("stars", n)
    return of_cycles(f"stars n={n}", n, [[(0, place)] for place in range(1, n)])


@family
def generalized_stars(n: int, k: int = 1) -> PermutationGraph:
    """Transpositions of one of the first k places with one of the other n - k.

    Order: n!.
    Diameter: floor(3(n-1)/2) for k = 1, where they are the stars.
    Source: arXiv 2509.19162.

    Raises:
        SymmetryError: if not 1 <= k < n.
    """
    call = f"generalized_stars(n={n}, k={k})"
    require(1 <= k < n, call, "places 0..k-1 are exchanged with places k..n-1, so 1 <= k < n.")
    return of_cycles(f"stars n={n} k={k}", n, ([pair] for pair in product(range(k), range(k, n))))


def _at_least_two(name: str, n: int) -> None:
    require(n >= 2, f"{name}(n={n})", "a transposition exchanges two places, so n >= 2.")

# SPDX-License-Identifier: Apache-2.0
"""Families of signed permutations: each of n things has two sides, letters i and n + i, which go together.

A signed permutation is written as one of 2n places; all families here commute with the exchange of i and n + i.
"""

from collections.abc import Iterator
from itertools import combinations_with_replacement

from rankwise.symmetry.cayley.families.building import assembled, of_cycles, require, reversed_places
from rankwise.symmetry.cayley.families.registry import family
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.permutations import Permutation


@family
def coxeter_b(n: int) -> PermutationGraph:
    """Coxeter generators of type B on 2n places: (0 n), which turns one thing over, and (i i+1)(n+i n+i+1).

    Order: 2^n n!.
    Diameter: n^2; the growth is the product of 1 + q + ... + q^(2i-1) over i = 1..n.
    Source: Bjorner and Brenti, Combinatorics of Coxeter Groups, 2005, section 8.1.

    Raises:
        SymmetryError: if n < 1.
    """
    require(n >= 1, f"coxeter_b(n={n})", "there are n signed letters, so n >= 1.")
    return of_cycles(f"Coxeter B n={n}", 2 * n, [[(0, n)], *_neighbors(n)])


@family
def coxeter_d(n: int) -> PermutationGraph:
    """Coxeter generators of type D on 2n places: (0 n+1)(1 n), which turns two things over, and (i i+1)(n+i n+i+1).

    Order: 2^(n-1) n!.
    Diameter: n(n-1); the growth is the product of 1 + q + ... + q^(d-1) over the degrees d = 2, 4, ..., 2n-2 and n.
    Source: Bjorner and Brenti, Combinatorics of Coxeter Groups, 2005, section 8.2.

    Raises:
        SymmetryError: if n < 2.
    """
    require(n >= 2, f"coxeter_d(n={n})", "one generator turns two things over, so n >= 2.")
    return of_cycles(f"Coxeter D n={n}", 2 * n, [[(0, n + 1), (1, n)], *_neighbors(n)])


@family
def burnt_pancake(n: int) -> PermutationGraph:
    """Reversals of the first 1, 2, ..., n things that also turn each of them over: pancakes with a burnt side.

    Order: 2^n n!.
    Diameter: 1, 4, 6, 8, 10, 12, 14, 15, 17, 18, 19, 21 for n = 1..12.
    Source: Gates and Papadimitriou, 1979; Cohen and Blum, On the problem of sorting burnt pancakes, 1995; OEIS A078942.

    Raises:
        SymmetryError: if n < 1.
    """
    require(n >= 1, f"burnt_pancake(n={n})", "there are n pancakes, so n >= 1.")
    moves = ((f"R{length}", _turned(n, 0, length - 1)) for length in range(1, n + 1))
    return assembled(f"burnt pancake n={n}", moves)


@family
def signed_reversals(n: int) -> PermutationGraph:
    """Reversals of any stretch of things i..j that also turn each of them over, as in genomes of signed genes.

    Order: 2^n n!.
    Diameter: n+1 for n = 2, 4, 5, 6, 7 and n for n = 1, 3 (searched to n = 7).
    Source: Hannenhalli and Pevzner, Transforming cabbage into turnip, 1999.

    Raises:
        SymmetryError: if n < 1.
    """
    require(n >= 1, f"signed_reversals(n={n})", "there are n signed letters, so n >= 1.")
    stretches = combinations_with_replacement(range(n), 2)
    moves = ((f"R[{first}..{last}]", _turned(n, first, last)) for first, last in stretches)
    return assembled(f"signed reversals n={n}", moves)


def _neighbors(n: int) -> Iterator[list[tuple[int, int]]]:
    return ([(place, place + 1), (n + place, n + place + 1)] for place in range(n - 1))


def _turned(n: int, first: int, last: int) -> Permutation:
    """Things first..last reversed, each with its two sides exchanged."""
    things = reversed_places(n, first, last)
    over = [first <= place <= last for place in range(n)]
    front = (thing + n * turned for thing, turned in zip(things, over, strict=True))
    back = (thing + n * (not turned) for thing, turned in zip(things, over, strict=True))
    return (*front, *back)

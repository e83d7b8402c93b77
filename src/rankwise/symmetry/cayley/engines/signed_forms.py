# SPDX-License-Identifier: Apache-2.0
"""Recognize the Coxeter generators of types B and D in a set of permutations of 2n places, under any names of places.

Thing i has two sides, i and i'. A chain of generators (i i+1)(i' i+1') carries thing 0 to thing 1, 2, ..., n-1. At its
head type B has (0 0'), which turns one thing over; type D has (0 1')(0' 1) beside (0 1)(0' 1'), which turns over two.
"""

from rankwise.symmetry.cayley.permutations import Permutation, cycles

Pair = frozenset[int]
Move = frozenset[Pair]  # the transpositions of a generator


def signed_form(generators: tuple[Permutation, ...]) -> tuple[str, int] | None:
    """The type, "B" or "D", and the number n >= 2 of things; None if the generators are not of that form.

    Args:
        generators: different permutations, none the identity.
    """
    moves = [frozenset(frozenset(cycle) for cycle in cycles(generator)) for generator in generators]
    if len(moves) < 2 or any(len(pair) > 2 for move in moves for pair in move):
        return None
    turning = [move for move in moves if len(move) == 1]
    if len(turning) == 1 and all(len(move) == 2 for move in moves if move not in turning):
        (thing,) = turning[0]
        chain = [move for move in moves if move not in turning]
        return ("B", len(moves)) if _is_chain([thing], chain) else None
    if not turning and all(len(move) == 2 for move in moves):
        return _type_d(moves)
    return None


def _type_d(moves: list[Move]) -> tuple[str, int] | None:
    """Two generators move the same four places in two of the three ways; the third way says which are one thing."""
    for first in moves:
        for second in moves:
            places = frozenset().union(*first)
            if first != second and places == frozenset().union(*second):
                used = {*first, *second}
                here = min(places)
                things = [pair for pair in _pairs(places) if pair not in used]
                head, tail = sorted(things, key=lambda thing: here not in thing)
                chain = [move for move in moves if move not in (first, second)]
                found = _is_chain([head, tail], chain) or _is_chain([tail, head], chain)
                return ("D", len(moves)) if found else None
    return None


def _pairs(places: frozenset[int]) -> set[Pair]:
    return {frozenset((first, second)) for first in places for second in places if first < second}


def _is_chain(things: list[Pair], moves: list[Move]) -> bool:
    """Whether the moves, in some order, each carry the last thing to one whose places no thing had before."""
    left = list(moves)
    while left:
        last, seen = things[-1], frozenset().union(*things)
        fitting = [move for move in left if last < frozenset().union(*move) and last not in move]
        if len(fitting) != 1:
            return False
        new = frozenset().union(*fitting[0]) - last
        if new & seen:
            return False
        things = [*things, new]
        left.remove(fitting[0])
    return True

# SPDX-License-Identifier: Apache-2.0
"""Families given by cycle type: conjugacy classes, whole or sampled, derangements, and random generators.

Whole classes are closed under conjugation, so their growth depends on cycle types only. What is drawn by chance comes
from a numpy Generator with the seed given, never from the global one.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import permutations
from math import factorial, prod

import numpy as np

from rankwise.symmetry.cayley.families.building import assembled, cycle_name, of_cycles, require, require_room
from rankwise.symmetry.cayley.families.registry import family
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.permutations import Permutation, from_cycles

CycleType = tuple[int, ...]
Cycles = tuple[tuple[int, ...], ...]


@family
def conjugacy_classes(
    n: int, classes: Mapping[CycleType, int | None] | int, seed: int | None = None
) -> PermutationGraph:
    """All permutations of given cycle types, or so many drawn from each without repetition.

    Source: arXiv 2509.19162.

    Args:
        n: number of letters.
        classes: for each cycle type, such as (3, 2), None for the whole class or how many to draw from it; letters
            that the lengths leave over are fixed. An integer k stands for {(k,): None}, all k-cycles.
        seed: of the draws; needed if there are any.

    Raises:
        SymmetryError: if a cycle type does not fit into n letters, moves nothing or stands twice, a draw is of fewer
            than one or more than all permutations of its class, there are draws and no seed, or the seed is negative.
        CapacityError: if a whole class is too large to list.

    Example:
        >>> conjugacy_classes(4, {(2, 2): None}).names
        ('(0 1)(2 3)', '(0 2)(1 3)', '(0 3)(1 2)')
    """
    kinds = _checked(n, {(classes,): None} if isinstance(classes, int) else classes)
    drawn = any(count is not None for count in kinds.values())
    require(
        not drawn or seed is not None, f"conjugacy_classes(n={n})", "drawing from a class needs a seed, an integer."
    )
    title = ", ".join(f"{'' if count is None else f'{count} of '}{_written(kind)}" for kind, count in kinds.items())
    title = f"conjugacy classes n={n}: {title}{f', seed={seed}' if drawn else ''}"
    require(seed is None or seed >= 0, title, f"the seed is an integer from 0 on, got {seed}.")
    require_room(title, sum(count or _class_size(kind) for kind, count in kinds.items()), n)
    generator = np.random.default_rng(seed)
    found = (
        cycles
        for lengths, count in kinds.items()
        for cycles in (_whole(tuple(range(n)), lengths) if count is None else _draws(n, lengths, count, generator))
    )
    return of_cycles(title, n, found)


@family
def derangements(n: int) -> PermutationGraph:
    """All permutations that leave no letter in its place.

    Order: n! but for n = 3, where it is 3.
    Diameter: 2 for n >= 4.
    Source: arXiv 2509.19162.

    Raises:
        SymmetryError: if n < 2.
        CapacityError: if they are too many to list, from n = 10 on.
    """
    require(n >= 2, f"derangements(n={n})", "one letter cannot leave its place, so n >= 2.")
    require_room(f"derangements n={n}", sum((-1) ** k * factorial(n) // factorial(k) for k in range(n + 1)), n)
    every = (order for order in permutations(range(n)) if all(place != letter for place, letter in enumerate(order)))
    return assembled(f"derangements n={n}", ((cycle_name(order), order) for order in every))


@family
def involutive_derangements(n: int) -> PermutationGraph:
    """All products of n/2 disjoint transpositions: every letter changes its place with one other.

    Order: n! if n/2 is odd, n!/2 if it is even, but for n = 4, where it is 4.
    Source: arXiv 2509.19162.

    Raises:
        SymmetryError: if n is odd or n < 2.
        CapacityError: if they are too many to list, from n = 14 on.
    """
    require(
        n >= 2 and n % 2 == 0, f"involutive_derangements(n={n})", "all letters go in pairs, so n is even, 2 or more."
    )
    title, kind = f"involutive derangements n={n}", (2,) * (n // 2)
    require_room(title, _class_size(kind), n)
    return of_cycles(title, n, _whole(tuple(range(n)), kind))


@family
def rand_generators(n: int, k: int, seed: int) -> PermutationGraph:
    """Permutations drawn independently, k of them, each with the same probability.

    Order: n! or n!/2 with a probability that tends to 1 for k >= 2.
    Source: Dixon, The probability of generating the symmetric group, 1969.

    Raises:
        SymmetryError: if n < 1, k < 1 or the seed is negative.
    """
    require(n >= 1 and k >= 1, f"rand_generators(n={n}, k={k})", "k permutations of n letters: n >= 1 and k >= 1.")
    require(seed >= 0, f"rand_generators(n={n}, k={k}, seed={seed})", "the seed is an integer from 0 on.")
    generator = np.random.default_rng(seed)
    moves = ((f"P{index}", tuple(generator.permutation(n).tolist())) for index in range(k))
    return assembled(f"{k} random generators n={n} seed={seed}", moves)


def _checked(n: int, classes: Mapping[CycleType, int | None]) -> dict[CycleType, int | None]:
    """The cycle types with fixed letters written out as cycles of length 1, longest first."""
    call = f"conjugacy_classes(n={n}, {classes})"
    require(bool(classes), call, "give at least one cycle type, such as {(2,): None}.")
    kinds: dict[CycleType, int | None] = {}
    for lengths, count in classes.items():
        require(isinstance(lengths, tuple), call, f"{lengths!r} is no cycle type; write a tuple, (3,) for a 3-cycle.")
        fits = all(length >= 1 for length in lengths) and sum(lengths) <= n and any(length > 1 for length in lengths)
        require(fits, call, f"{lengths} must be lengths from 1 on, one of them above 1, with a sum of at most n.")
        kind = (*sorted(lengths, reverse=True), *(1,) * (n - sum(lengths)))
        require(kind not in kinds, call, f"the cycle type {lengths} stands twice.")
        size = _class_size(kind)
        require(
            count is None or 1 <= count <= size, call, f"{lengths} has {size} permutations; draw 1 to {size}, or None."
        )
        kinds[kind] = count
    return kinds


def _class_size(kind: CycleType) -> int:
    """How many permutations it has: n! over the product of l^m m! for each length l that stands m times."""
    return factorial(sum(kind)) // prod(length**times * factorial(times) for length, times in Counter(kind).items())


def _whole(letters: tuple[int, ...], kind: CycleType) -> Iterator[Cycles]:
    """Every permutation of the letters with these cycle lengths, once: the least letter's cycle first."""
    if not letters:
        yield ()
        return
    for length in sorted(set(kind)):
        left = list(kind)
        left.remove(length)
        for others in permutations(letters[1:], length - 1):
            rest = tuple(letter for letter in letters[1:] if letter not in others)
            for more in _whole(rest, tuple(left)):
                yield ((letters[0], *others), *more)


def _draws(n: int, kind: CycleType, count: int, generator: np.random.Generator) -> Iterator[Cycles]:
    """So many different permutations of the class: letters in random order cut into cycles, repetitions thrown away."""
    seen: set[Permutation] = set()
    ends = np.cumsum(kind)[:-1]
    while len(seen) < count:
        cycles = tuple(tuple(part.tolist()) for part in np.split(generator.permutation(n), ends))
        permutation = from_cycles(n, cycles)
        if permutation not in seen:
            seen.add(permutation)
            yield cycles


def _written(kind: CycleType) -> str:
    return "+".join(str(length) for length in kind if length > 1)

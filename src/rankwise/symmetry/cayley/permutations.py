# SPDX-License-Identifier: Apache-2.0
"""Permutations as tuples of integers from 0, and what is done to them one at a time.

A permutation p acts on a word x by `y[i] = x[p[i]]`. `composed(p, q)[i] = q[p[i]]` is p applied to the word q, so the
path "first q, then p" from the identity ends in `composed(p, q)`.
"""

from collections.abc import Iterable, Sequence
from operator import index

from rankwise.errors import SymmetryError

Permutation = tuple[int, ...]


def checked(letters: Sequence[int], what: str = "generator") -> Permutation:
    """The permutation as a tuple of Python integers.

    Args:
        letters: the images of 0, 1, ..., n - 1.
        what: how to call it in the message.

    Raises:
        SymmetryError: if it does not hold each of 0..n-1 once; the message names the first letter that is wrong.
    """
    permutation = integers(letters, what)
    size = len(permutation)
    if size == 0:
        raise SymmetryError(f"{what}: an empty permutation moves nothing; give the images of 0, 1, ..., n-1.")
    seen: set[int] = set()
    for place, letter in enumerate(permutation):
        if not 0 <= letter < size:
            raise SymmetryError(
                f"{what} {permutation} is no permutation: entry {place} is {letter}, not in 0..{size - 1}."
            )
        if letter in seen:
            raise SymmetryError(f"{what} {permutation} is no permutation: {letter} stands twice. Each letter once.")
        seen.add(letter)
    return permutation


def integers(entries: Iterable[int], what: str) -> tuple[int, ...]:
    """The entries as Python integers.

    Raises:
        SymmetryError: if an entry is no integer, such as 1.5 or "1"; nothing is rounded.
    """
    entries = tuple(entries)
    try:
        return tuple(index(entry) for entry in entries)
    except TypeError:
        raise SymmetryError(f"{what} {entries} must have integers only.") from None


def identity(size: int) -> Permutation:
    """0, 1, ..., size - 1."""
    return tuple(range(size))


def inverse(permutation: Permutation) -> Permutation:
    """The permutation q with q[p[i]] = i."""
    result = [0] * len(permutation)
    for place, letter in enumerate(permutation):
        result[letter] = place
    return tuple(result)


def composed(first: Permutation, second: Permutation) -> Permutation:
    """`first` applied to the word `second`: result[i] = second[first[i]]."""
    return tuple(second[letter] for letter in first)


def from_cycles(size: int, cycles: Iterable[Sequence[int]]) -> Permutation:
    """The permutation with p[a] = b, p[b] = c, p[c] = a for each cycle (a b c).

    Raises:
        SymmetryError: if a letter is outside 0..size-1 or stands in two places.
    """
    images = list(range(size))
    used: set[int] = set()
    for cycle in cycles:
        for letter, image in zip(cycle, [*cycle[1:], *cycle[:1]], strict=True):
            if not 0 <= letter < size or letter in used:
                raise SymmetryError(
                    f"cycle {tuple(cycle)}: {letter} must be in 0..{size - 1} and stand in one cycle only, once."
                )
            used.add(letter)
            images[letter] = image
    return tuple(images)


def cycles(permutation: Permutation) -> list[tuple[int, ...]]:
    """The cycles of length 2 and more, each from its least letter, in the order of those."""
    found, seen = [], set()
    for first in range(len(permutation)):
        cycle, letter = [], first
        while letter not in seen:
            seen.add(letter)
            cycle.append(letter)
            letter = permutation[letter]
        if len(cycle) > 1:
            found.append(tuple(cycle))
    return found


def is_even(permutation: Permutation) -> bool:
    """Whether the permutation is a product of an even number of transpositions."""
    return sum(len(cycle) - 1 for cycle in cycles(permutation)) % 2 == 0

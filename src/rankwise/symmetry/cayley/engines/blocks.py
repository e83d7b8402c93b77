# SPDX-License-Identifier: Apache-2.0
"""Where a generator sends a whole block of permutations of n letters.

The permutations whose last n - P letters (the suffix) are the same form a chunk; inside it a permutation is the
lexicographic rank of the order of its first P letters (the prefix). A generator p takes t prefix letters into the
suffix and t suffix letters into the prefix. A prefix rank r splits into (b, q): b numbers the t-tuple of relative
values that leave, q the order pattern of the P - t that stay. The suffix and b give the target chunk and e, the number
of the t-tuple of relative values that enter; then the new rank is `enter[e, q]`. So table look-ups alone move a chunk.

A generator that permutes places of the prefix alone, and not its last m, keeps the order of the last m letters: it
moves blocks of m! neighboring ranks as they are, 64 bits at a time.

If all generators are even only one of the ranks 2k, 2k + 1 (the last two letters exchanged) occurs in a chunk, the one
whose parity fits the suffix; the chunk then holds k, half as many bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from math import factorial, perm
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rankwise.symmetry.cayley.permutations import Permutation, inverse

LEAST_BLOCK = 24  # bits that are moved faster together than one by one
PREFIX = 8  # letters; 8! bits are 5 KB, so that a few chunks and the tables stay in the processor's cache


@dataclass(frozen=True)
class BlockTables:
    """The tables of one generator for blocks of P prefix letters.

    Args:
        generator: the permutation itself, uint8 [n].
        leaving: prefix places whose letters leave, ascending, uint8 [t].
        entering: prefix places that get letters from the suffix, ascending, uint8 [t].
        leave: 2^16 b + q of each index, uint32 [1, indices], or [2, indices] for even and odd prefixes if halved.
        enter: new index of (e, q), uint16 [P! / (P-t)!, (P-t)!]; for t = 0 q is the new index already.
        block: bits that stay together and in order wherever they go; 0 if they are too few to be moved that way.
        block_to: number of the block that each block becomes, uint16 [blocks].
    """

    generator: NDArray[np.uint8]
    leaving: NDArray[np.uint8]
    entering: NDArray[np.uint8]
    leave: NDArray[np.uint32]
    enter: NDArray[np.uint16]
    block: int
    block_to: NDArray[np.uint16]

    @property
    def fields(self) -> tuple[Any, ...]:
        """The tables in the order in which the inner loop takes them."""
        return (self.generator, self.leaving, self.entering, self.leave, self.enter, self.block, self.block_to)


@lru_cache
def arrangements(prefix: int) -> NDArray[np.uint8]:
    """All orders of `prefix` letters in lexicographic order, [P!, P], a place's letters side by side in memory."""
    return np.asfortranarray(np.array(list(permutations(range(prefix))), dtype=np.uint8).reshape(-1, prefix))


@lru_cache
def odd(prefix: int) -> NDArray[np.uint8]:
    """1 for each odd arrangement in lexicographic order, [P!]."""
    rows = arrangements(prefix)
    inversions = sum(rows[:, left] > rows[:, right] for right in range(prefix) for left in range(right))
    return (np.zeros(len(rows), dtype=np.int64) + inversions).astype(np.uint8) & np.uint8(1)


def block_tables(generator: Permutation, prefix: int, halved: bool) -> BlockTables:
    """Build the tables of a generator.

    Args:
        generator: a permutation of n >= prefix letters.
        prefix: P.
        halved: whether chunks hold even permutations only.
    """
    turned = inverse(generator)
    leaving = [place for place in range(prefix) if turned[place] >= prefix]
    entering = [place for place in range(prefix) if generator[place] >= prefix]
    staying = [place for place in range(prefix) if turned[place] < prefix]
    rows = arrangements(prefix)
    tuples, patterns = _tuple_index(rows, leaving), _pattern_index(rows, staying)
    new_patterns = _pattern_index(rows, [turned[place] for place in staying])
    moved = len(leaving)
    enter = np.empty((perm(prefix, moved), factorial(prefix - moved)), dtype=np.uint16)
    places = _tuple_index(rows, entering) * np.uint16(enter.shape[1]) + new_patterns  # below P!, which 16 bits hold
    enter.reshape(-1)[places.astype(np.intp)] = np.arange(len(rows), dtype=np.uint16) >> np.uint16(halved)
    leave = (tuples.astype(np.uint32) << np.uint32(16) | patterns)[None]
    if halved:
        leave = leave[0, _ranks(prefix)]
    if not moved:  # the order alone changes: it is looked up at once
        leave, enter = enter[0, leave].astype(np.uint32), np.arange(enter.size, dtype=np.uint16)[None]
    block = 0 if moved else factorial(_still(generator, prefix)) >> int(halved)
    block = block if block >= LEAST_BLOCK else 0
    return BlockTables(
        generator=np.array(generator, dtype=np.uint8),
        leaving=np.array(leaving, dtype=np.uint8),
        entering=np.array(entering, dtype=np.uint8),
        leave=leave,
        enter=enter,
        block=block,
        block_to=(leave[0, ::block] // np.uint32(block) if block else np.empty(0)).astype(np.uint16),
    )


def _still(generator: Permutation, prefix: int) -> int:
    """How many of the last places of the prefix keep their letters."""
    moving = [place for place in range(prefix) if generator[place] != place]
    return prefix - 1 - max(moving, default=-1)


def _ranks(prefix: int) -> NDArray[np.int64]:
    """The lexicographic rank behind each index of a halved chunk, for even prefixes and for odd ones."""
    first_is_odd = odd(prefix)[::2].astype(np.int64)
    pairs = 2 * np.arange(factorial(prefix) // 2)
    return np.stack([pairs + first_is_odd, pairs + 1 - first_is_odd])


def _tuple_index(rows: NDArray[np.uint8], places: Sequence[int]) -> NDArray[np.uint16]:
    """Number of the ordered tuple of values at `places` among all tuples of different values, [rows]."""
    index = np.zeros(len(rows), dtype=np.uint16)
    for position, place in enumerate(places):
        digit = rows[:, place].copy()
        for earlier in places[:position]:
            digit -= (rows[:, earlier] < rows[:, place]).view(np.uint8)
        index *= np.uint16(rows.shape[1] - position)
        index += digit
    return index


def _pattern_index(rows: NDArray[np.uint8], places: Sequence[int]) -> NDArray[np.uint16]:
    """Lexicographic rank of the order of the values at `places`, [rows]."""
    if list(places) == list(range(rows.shape[1])):
        return np.arange(len(rows), dtype=np.uint16)
    return _ordered(rows, np.array(places, dtype=np.int64))


@njit(cache=True, nogil=True)
def _ordered(rows, places):
    index, digit = np.zeros(len(rows), dtype=np.uint16), np.empty(len(rows), dtype=np.uint8)
    for position in range(len(places)):
        digit[:] = 0
        here = rows[:, places[position]]
        for later in range(position + 1, len(places)):
            there = rows[:, places[later]]
            for row in range(len(rows)):
                digit[row] += np.uint8(there[row] < here[row])
        kinds = np.uint16(len(places) - position)
        for row in range(len(rows)):
            index[row] = index[row] * kinds + digit[row]
    return index

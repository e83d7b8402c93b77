# SPDX-License-Identifier: Apache-2.0
"""The symmetries of a set of generators: conjugations that map it to itself, alone or after inversion.

If c S c^-1 = S then x -> c x c^-1 fixes the identity and keeps every distance from it; if c S^-1 c^-1 = S then so does
x -> c x^-1 c^-1. Places that may be exchanged one for another, because the transposition of the two is such a c, form
blocks; all permutations inside blocks are symmetries, and the others are found up to these, as permutations of blocks,
by backtracking: c must keep, for each pair of places, how many generators of each cycle type take one to the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from math import factorial, prod

import numpy as np
from numpy.typing import NDArray

from rankwise.symmetry.cayley.permutations import Permutation, cycles

MOST = 5000
"""Largest number of symmetries beside the exchanges inside blocks that is looked for."""
_STEPS = 20_000  # of backtracking, after which it is given up: about a second


@dataclass(frozen=True)
class Symmetries:
    """The symmetries of a set of permutations S of n places.

    Args:
        blocks: for each place the number of its block.
        maps: conjugators c, one for each way to permute the blocks, the identity first, uint8 [symmetries, n].
        turned: for each whether it goes with inversion.
    """

    blocks: NDArray[np.uint8]
    maps: NDArray[np.uint8]
    turned: NDArray[np.bool_]

    @property
    def exchanges(self) -> int:
        """How many permutations of places stay inside blocks."""
        return prod(factorial(int(size)) for size in self.block_sizes)

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """How many places each block has."""
        return tuple(np.bincount(self.blocks).tolist())

    @property
    def order(self) -> int:
        """How many symmetries there are."""
        return self.exchanges * len(self.maps)


@lru_cache(maxsize=16)
def symmetries(generators: tuple[Permutation, ...]) -> Symmetries | None:
    """Find the symmetries of a set of generators, or None if they are too many to look through.

    Args:
        generators: different permutations of n <= 255 places.
    """
    moves = np.array(generators, dtype=np.uint8)
    blocks = _blocks(moves)
    pairs, inverses = _pairs(moves), np.argsort(moves, axis=1).astype(np.uint8)
    plain = _conjugators(moves, moves, _candidates(pairs, pairs, blocks))
    turned = None if plain is None else _conjugators(inverses, moves, _candidates(pairs.T, pairs, blocks))
    if plain is None or turned is None:
        return None
    maps = np.array([*plain, *turned], dtype=np.uint8)
    return Symmetries(blocks, maps, np.arange(len(maps)) >= len(plain))


def exchanges(generators: tuple[Permutation, ...]) -> int:
    """How many symmetries only exchange places inside blocks; found at once, whatever the generators are."""
    return prod(factorial(size) for size in np.bincount(_blocks(np.array(generators, dtype=np.uint8))).tolist())


def _blocks(moves: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """For each place the number of its block; two places share one if their transposition is a symmetry."""
    size, wanted = moves.shape[1], _sorted_rows(moves)
    blocks, firsts = np.zeros(size, dtype=np.uint8), list[int]()
    for place in range(size):
        for block, first in enumerate(firsts):
            exchange = np.arange(size, dtype=np.uint8)
            exchange[[first, place]] = exchange[[place, first]]
            if np.array_equal(_sorted_rows(_conjugated(moves, exchange)), wanted):
                blocks[place] = block
                break
        else:
            blocks[place] = len(firsts)
            firsts.append(place)
    return blocks


def _conjugators(
    source: NDArray[np.uint8], target: NDArray[np.uint8], candidates: Iterator[NDArray[np.uint8] | None]
) -> list[NDArray[np.uint8]] | None:
    """The candidates c with c source c^-1 = target, one for each action on the generators; None if too many to try."""
    wanted, found = _sorted_rows(target), dict[bytes, NDArray[np.uint8]]()
    for tried, candidate in enumerate(candidates):
        if candidate is None or tried == MOST:
            return None
        moved = _conjugated(source, candidate)
        if np.array_equal(_sorted_rows(moved), wanted):
            found.setdefault(moved.tobytes(), candidate)
    return list(found.values())


def _candidates(
    source: NDArray[np.int64], target: NDArray[np.int64], blocks: NDArray[np.uint8]
) -> Iterator[NDArray[np.uint8] | None]:
    """Permutations c of places that map blocks to blocks with target[c i, c j] = source[i, j] for all i, j.

    None in place of one says that they are too many to look through.
    """
    members = [np.flatnonzero(blocks == block) for block in range(int(blocks.max()) + 1)]
    image = np.zeros(len(blocks), dtype=np.uint8)

    steps = count()

    def place(block: int, free: list[int]) -> Iterator[NDArray[np.uint8] | None]:
        if block == len(members):
            yield image.copy()
            return
        done = np.concatenate(members[: block + 1])
        for other in free:
            if next(steps) == _STEPS:
                yield None
            if len(members[other]) != len(members[block]):
                continue
            image[members[block]] = members[other]
            there, here = image[done], members[block]
            if np.array_equal(target[np.ix_(there, image[here])], source[np.ix_(done, here)]) and np.array_equal(
                target[np.ix_(image[here], there)], source[np.ix_(here, done)]
            ):
                yield from place(block + 1, [left for left in free if left != other])

    yield from place(0, list(range(len(members))))


def _pairs(moves: NDArray[np.uint8]) -> NDArray[np.int64]:
    """For each pair of places a number that says how many generators of each cycle type take one to the other."""
    kinds: dict[tuple[int, ...], list[int]] = {}
    for index, move in enumerate(moves.tolist()):
        kinds.setdefault(tuple(sorted(map(len, cycles(tuple(move))))), []).append(index)
    size = moves.shape[1]
    counts = np.zeros((size, size, len(kinds)), dtype=np.int64)
    for number, kind in enumerate(sorted(kinds)):
        for move in moves[kinds[kind]]:
            counts[np.arange(size), move, number] += 1
    _, numbers = np.unique(counts.reshape(size * size, -1), axis=0, return_inverse=True)
    return numbers.reshape(size, size)


def _conjugated(moves: NDArray[np.uint8], image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """C p c^-1 for every p."""
    return image[moves[:, np.argsort(image)]]


def _sorted_rows(moves: NDArray[np.uint8]) -> NDArray[np.void]:
    """The rows in one order, so that equal sets give equal arrays."""
    rows = np.ascontiguousarray(moves)
    return np.sort(rows.view(np.dtype((np.void, rows.shape[1])))[:, 0])

# SPDX-License-Identifier: Apache-2.0
"""The inner loops that number packed states, give states of numbers, and read and set bits by number."""

import numpy as np
from numba import njit

from rankwise.symmetry.cayley.engines.bits import lowest_bit


@njit(cache=True, nogil=True)
def chain_ranks(states, fields, chain):
    """Numbers of group elements: sift through a stabilizer chain, whose coset numbers are the digits.

    Args:
        states: images of the base, uint64 [m, W].
        fields: word, shift and mask of each base letter's field, int64 [k, 3].
        chain: the place of each field's values [k, values]; the number of each place in its level's orbit [k, n]; the
            inverse of the level's element that takes the base letter to each place [k, n, n]; length of each orbit [k].

    Returns:
        int64 [m].
    """
    places, numbers, inverses, lengths = chain
    levels = len(fields)
    ranks = np.empty(len(states), dtype=np.int64)
    images = np.empty(levels, dtype=np.int64)
    for row in range(len(states)):
        for level in range(levels):
            bits = (states[row, fields[level, 0]] >> np.uint64(fields[level, 1])) & np.uint64(fields[level, 2])
            images[level] = places[level, bits]
        rank = np.int64(0)
        for level in range(levels):
            at = images[level]
            rank = rank * lengths[level] + numbers[level, at]
            for later in range(level + 1, levels):
                images[later] = inverses[level, at, images[later]]
        ranks[row] = rank
    return ranks


@njit(cache=True, nogil=True)
def chain_states(ranks, fields, chain, words):
    """Group elements of numbers: the product of one element of each level.

    Args:
        ranks: int64 [m].
        fields: word, shift and mask of each base letter's field, int64 [k, 3].
        chain: the number of each place in a field [k, n]; the places of each level's orbit [k, n]; the level's element
            that takes the base letter to each place [k, n, n]; length of each orbit [k].
        words: W.

    Returns:
        uint64 [m, W].
    """
    values, orbits, elements, lengths = chain
    levels = len(fields)
    states = np.zeros((len(ranks), words), dtype=np.uint64)
    images = np.empty(levels, dtype=np.int64)
    for row in range(len(ranks)):
        rank = ranks[row]
        for level in range(levels - 1, -1, -1):
            at = np.int64(orbits[level, rank % lengths[level]])
            rank //= lengths[level]
            images[level] = at
            for later in range(level + 1, levels):
                images[later] = elements[level, at, images[later]]
        for level in range(levels):
            states[row, fields[level, 0]] |= np.uint64(values[level, images[level]]) << np.uint64(fields[level, 1])
    return states


@njit(cache=True, nogil=True)
def letter_ranks(states, fields, smaller, after):
    """Numbers of words in lexicographic order.

    Args:
        states: letters, uint64 [m, W].
        fields: word, shift and mask of each place, int64 [n, 3].
        smaller: how many words of the letters that are left begin with a smaller letter, int64 [nodes, letters].
        after: the node of the letters that are left after this one, int64 [nodes, letters]; node 0 has all letters.

    Returns:
        int64 [m].
    """
    ranks = np.empty(len(states), dtype=np.int64)
    for row in range(len(states)):
        rank, node = np.int64(0), np.int64(0)
        for place in range(len(fields)):
            letter = (states[row, fields[place, 0]] >> np.uint64(fields[place, 1])) & np.uint64(fields[place, 2])
            rank += smaller[node, letter]
            node = after[node, letter]
        ranks[row] = rank
    return ranks


@njit(cache=True, nogil=True)
def letter_states(ranks, fields, smaller, after, words):
    """Words of numbers: the reverse of `letter_ranks`; `smaller` has one more column, all words of the node."""
    states = np.zeros((len(ranks), words), dtype=np.uint64)
    for row in range(len(ranks)):
        rank, node = ranks[row], np.int64(0)
        for place in range(len(fields)):
            letter = 0
            while rank >= smaller[node, letter + 1]:
                letter += 1
            rank -= smaller[node, letter]
            node = after[node, letter]
            states[row, fields[place, 0]] |= np.uint64(letter) << np.uint64(fields[place, 1])
    return states


@njit(cache=True, nogil=True)
def members(bitmap, flags, begin, found):
    """The numbers of set bits, from a word on, as many as there is room for.

    Args:
        bitmap: uint64 [chunks, words].
        flags: which chunks have bits, uint8 [chunks].
        begin: number of the first word.
        found: the numbers are written here, int64; room for 64 at least.

    Returns:
        How many there are, and the word to go on with; the number of all words at the end.
    """
    words = bitmap.shape[1]
    count, at = np.int64(0), np.int64(begin)
    while at < bitmap.size and count + 64 <= len(found):
        if not flags[at // words]:
            at = (at // words + 1) * words
            continue
        bits = bitmap[at // words, at % words]
        while bits:
            found[count] = at * 64 + np.int64(lowest_bit(bits))
            count += 1
            bits &= bits - np.uint64(1)
        at += 1
    return count, at


@njit(cache=True, nogil=True)
def mark(ranks, bitmap, flags):
    """Set the bits of these numbers and the flags of their chunks."""
    words = bitmap.shape[1]
    for rank in ranks:
        word = rank // 64
        bitmap[word // words, word % words] |= np.uint64(1) << np.uint64(rank % 64)
        flags[word // words] = 1

# SPDX-License-Identifier: Apache-2.0
"""The bitmap engine's other direction: which unvisited states have a neighbor in the last layer.

Where edges go both ways that is the next layer. Once fewer states are left than the last layer has, it takes less: a
state is done with its first neighbor that is found. Each chunk is read and written by itself.
"""

import numpy as np
from numba import njit

from rankwise.symmetry.cayley.engines.sweep import SPARE, members, tables_of, target_of

_UNKNOWN, _EMPTY = -1, -2


@njit(cache=True, nogil=True)
def pull(stack, suffix, odd, visited, source, reached):
    """Find the unvisited states of a chunk that the last layer reaches.

    Args:
        stack: `Stack` of the generators.
        suffix: letters of the chunk's suffix.
        odd: the parity of its prefixes.
        visited: bits of what was visited of the chunk, uint64 [words]; all of them are bits of states.
        source: bits of the last layer, uint64 [chunks, words], and which chunks have any.
        reached: bits of what is reached of the chunk, written.

    Returns:
        Whether there are any.
    """
    bits = np.empty(64 * len(visited) + SPARE, dtype=np.uint16)
    everything = members(~visited, bits)
    left = everything
    for number in range(len(stack[0])):
        if left:
            left = tested(tables_of(stack, number), suffix, odd, bits[:left], source, reached)
    return left < everything


@njit(cache=True, nogil=True)
def tested(fields, suffix, odd, bits, source, reached):
    """Set the bits that one generator takes to the last layer, and keep the others at the front of the list.

    Returns:
        How many are kept.
    """
    generator, leaving, entering, leave, enter, _, _ = fields
    last, in_last = source
    splits, flat, words, patterns = leave[odd], last.reshape(-1), last.shape[1], enter.shape[1]
    kept = 0
    if len(leaving) == 0:
        target, _ = target_of(generator, leaving, entering, suffix, 0)
        if not in_last[target]:
            return len(bits)
        for bit in bits:
            new, place = np.uint64(splits[np.uint64(bit)]), np.uint64(bit)
            found = last[target, new >> np.uint64(6)] >> (new & np.uint64(63)) & np.uint64(1)
            reached[place >> np.uint64(6)] |= found << (place & np.uint64(63))
            bits[kept] = bit
            kept += np.int64(np.uint64(1) - found)
        return kept
    news = enter.reshape(-1)
    goals = np.full(enter.shape[0], _UNKNOWN)
    for bit in bits:
        split, place = np.uint64(splits[np.uint64(bit)]), np.uint64(bit)
        code = split >> np.uint64(16)
        goal = goals[code]
        if goal == _UNKNOWN:
            target, entry = target_of(generator, leaving, entering, suffix, np.int64(code))
            goal = target * words << 16 | entry * patterns if in_last[target] else _EMPTY
            goals[code] = goal
        found = np.uint64(0)
        if goal >= 0:
            new = np.uint64(news[np.uint64(goal & 0xFFFF) + (split & np.uint64(0xFFFF))])
            found = flat[np.uint64(goal >> 16) + (new >> np.uint64(6))] >> (new & np.uint64(63)) & np.uint64(1)
            reached[place >> np.uint64(6)] |= found << (place & np.uint64(63))
        bits[kept] = bit
        kept += np.int64(np.uint64(1) - found)
    return kept

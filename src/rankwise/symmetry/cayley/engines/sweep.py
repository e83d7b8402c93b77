# SPDX-License-Identifier: Apache-2.0
"""The inner loops of the bitmap engine: move the set bits of chunks, then keep those that are new."""

import numpy as np
from numba import njit

from rankwise.symmetry.cayley.engines.bits import lowest_bit, set_bits

_UNKNOWN, _OTHER = -1, -2


@njit(cache=True, nogil=True)
def target_of(generator, leaving, entering, suffix, code):
    """Where a chunk goes if the t-tuple of relative values numbered `code` leaves its prefix.

    Args:
        generator: the permutation, uint8 [n].
        leaving: prefix places whose letters leave, [t].
        entering: prefix places that get suffix letters, [t].
        suffix: the chunk's last letters, [n - P].
        code: b.

    Returns:
        The number of the target chunk and e, the number of the tuple that enters.
    """
    size, moved = len(generator), len(leaving)
    prefix = size - len(suffix)
    inside = (np.int64(1) << size) - 1  # letters of the prefix, as bits
    for place in range(len(suffix)):
        inside ^= np.int64(1) << np.int64(suffix[place])
    gone = np.empty(max(moved, 1), dtype=np.int64)
    digits = np.empty(max(moved, 1), dtype=np.int64)
    for position in range(moved - 1, -1, -1):
        digits[position] = code % (prefix - position)
        code //= prefix - position
    left = inside
    for position in range(moved):
        word = left
        for _ in range(digits[position]):
            word &= word - 1
        letter = np.int64(lowest_bit(np.uint64(word)))
        gone[position] = letter
        left ^= np.int64(1) << letter
    # The new suffix, as the number of a partial permutation.
    free = (np.int64(1) << size) - 1
    chunk = np.int64(0)
    for place in range(prefix, size):
        source = np.int64(generator[place])
        if source >= prefix:
            letter = np.int64(suffix[source - prefix])
        else:
            letter = np.int64(0)
            for position in range(moved):
                if leaving[position] == source:
                    letter = gone[position]
        below = free & ((np.int64(1) << letter) - 1)
        chunk = chunk * (size - (place - prefix)) + np.int64(set_bits(np.uint64(below)))
        free ^= np.int64(1) << letter
    # What is free now is the new prefix; number the entering tuple by its relative values there.
    entry = np.int64(0)
    for position in range(moved):
        letter = np.int64(suffix[np.int64(generator[entering[position]]) - prefix])
        below = free & ((np.int64(1) << letter) - 1)
        entry = entry * (prefix - position) + np.int64(set_bits(np.uint64(below)))
        free ^= np.int64(1) << letter
    return chunk, entry


@njit(cache=True, nogil=True)
def push(tables, suffix_of, chunks, only, source, sink):
    """Apply one generator to the set bits of some chunks of the last layer.

    Args:
        tables: `BlockTables.fields` of the generator.
        suffix_of: letters of each chunk's suffix, [chunks, n - P], and the parity its prefix must have, [chunks].
        chunks: the source chunks, in order.
        only: (first, end): only the targets first..end-1 are written.
        source: bits of the last layer, uint64 [rows, words], which chunks have any, and the chunk of the first row.
        sink: bits of everything reached from it and which chunks have any, both written here, and the chunk of the
            first row.
    """
    generator, leaving, entering, leave, enter, block, block_to = tables
    suffixes, odd_suffix = suffix_of
    last, in_last, source_base = source
    reached, touched, sink_base = sink
    first, end = only
    words, patterns = last.shape[1], np.uint64(enter.shape[1])
    targets = np.empty(enter.shape[0], dtype=np.int64)  # first word of the target chunk, then the row of `enter`
    news, bitmap = enter.reshape(-1), reached.reshape(-1)
    for chunk in chunks:
        if not in_last[chunk]:
            continue
        targets[:] = _UNKNOWN
        if block:
            target, entry = target_of(generator, leaving, entering, suffixes[chunk], 0)
            if first <= target < end:
                touched[target] = 1
                move_blocks(last[chunk - source_base], reached[target - sink_base], block, block_to)
            continue
        splits = leave[odd_suffix[chunk]]
        for word in range(words):
            bits = last[chunk - source_base, word]
            while bits:
                index = (np.uint64(word) << np.uint64(6)) + lowest_bit(bits)
                bits &= bits - np.uint64(1)
                split = np.uint64(splits[index])
                code = split >> np.uint64(16)
                goal = targets[code]
                if goal < 0:
                    if goal == _OTHER:
                        continue
                    target, entry = target_of(generator, leaving, entering, suffixes[chunk], np.int64(code))
                    if not first <= target < end:
                        targets[code] = _OTHER
                        continue
                    goal = (target - sink_base) * words << 16 | np.int64(np.uint64(entry) * patterns)
                    targets[code] = goal
                    touched[target] = 1
                new = np.uint64(news[np.uint64(goal & 0xFFFF) + (split & np.uint64(0xFFFF))])
                place = np.uint64(goal >> 16) + (new >> np.uint64(6))
                bitmap[place] |= np.uint64(1) << (new & np.uint64(63))


@njit(cache=True, nogil=True)
def move_blocks(source, sink, block, block_to):
    """Put every block of bits of a chunk at its new place, a word at a time.

    Args:
        source: bits of the chunk, uint64 [words].
        sink: bits of the target chunk; the moved ones are added.
        block: bits of a block.
        block_to: the number of the block that each block becomes, [blocks].
    """
    for number in range(len(block_to)):
        here, there, left = number * block, np.int64(block_to[number]) * block, block
        while left > 0:
            shift, into = np.uint64(here & 63), np.uint64(there & 63)
            taken = min(left, 64 - (there & 63))
            bits = source[here >> 6] >> shift
            if shift and (here >> 6) + 1 < len(source):
                bits |= source[(here >> 6) + 1] << (np.uint64(64) - shift)
            if taken < 64:
                bits &= (np.uint64(1) << np.uint64(taken)) - np.uint64(1)
            sink[there >> 6] |= bits << into
            here, there, left = here + taken, there + taken, left - taken


@njit(cache=True, nogil=True)
def settle(first, end, visited, reached, touched):
    """Keep of what was reached only what was not visited, for the chunks first..end-1.

    Args:
        first: first chunk.
        end: one after the last chunk.
        visited: bits of everything visited, uint64 [chunks, words]; the new ones are added.
        reached: bits of what was reached; the new ones are left.
        touched: which chunks of `reached` have bits; kept for those that still do.

    Returns:
        The number of new states.
    """
    count = np.int64(0)
    for chunk in range(first, end):
        if touched[chunk]:
            here = np.int64(0)
            for word in range(visited.shape[1]):
                new = reached[chunk, word] & ~visited[chunk, word]
                visited[chunk, word] |= new
                reached[chunk, word] = new
                here += np.int64(set_bits(new))
            touched[chunk] = here > 0
            count += here
    return count


@njit(cache=True, nogil=True)
def clear(first, end, bitmap, flags):
    """Empty the flagged chunks first..end-1 of a bitmap."""
    for chunk in range(first, end):
        if flags[chunk]:
            flags[chunk] = 0
            bitmap[chunk, :] = 0

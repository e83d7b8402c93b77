# SPDX-License-Identifier: Apache-2.0
"""The inner loops of the bitmap engine: move the set bits of chunks, then keep those that are new."""

import numpy as np
from numba import njit

from rankwise.symmetry.cayley.engines.bits import lowest_bit, set_bits

SPARE = 3  # numbers written for nothing at the end of a list
# For `push`: no list is there, so that the bits of each chunk are listed anew.
UNLISTED = np.empty(0, dtype=np.uint16), np.empty((0, 2), dtype=np.int64)
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
def tables_of(stack, number):
    """`BlockTables.fields` of one generator."""
    generators, leaving, entering, leave, enter, blocks, lengths = stack
    moved, patterns, block, count = lengths[number]
    return (
        generators[number],
        leaving[number, :moved],
        entering[number, :moved],
        leave[number],
        enter[number].reshape(enter.shape[1] // patterns, patterns),
        block,
        blocks[number, :count],
    )


@njit(cache=True, nogil=True)
def members(words, found):
    """The numbers of the set bits of a chunk, in ascending order.

    Args:
        words: its bits, uint64 [words].
        found: where to write, uint16, with room for `SPARE` numbers more than there are.

    Returns:
        How many there are.
    """
    end = np.uint64(0)
    for word in range(len(words)):
        bits = words[word]
        if not bits:
            continue
        first, place = np.uint64(word) << np.uint64(6), end
        end += set_bits(bits)
        # Four at once, whether there are as many or not: a branch for each bit would often be guessed wrong.
        while bits:
            for ahead in range(4):
                found[place + np.uint64(ahead)] = first + lowest_bit(bits)
                bits &= bits - np.uint64(1)
            place += np.uint64(4)
    return np.int64(end)


@njit(cache=True, nogil=True)
def push(tables, suffix_of, share, source, sink, listed):
    """Apply one generator to the set bits of some chunks of the last layer.

    Args:
        tables: `BlockTables.fields` of the generator.
        suffix_of: letters of each chunk's suffix, [chunks, n - P], and the parity its prefix must have, [chunks].
        share: the source chunks, in order, and (first, end): only the targets first..end-1 are written.
        source: bits of the last layer, uint64 [rows, words], which chunks have any, and the chunk of the first row.
        sink: bits of everything reached from it and which chunks have any, both written here, and the chunk of the
            first row.
        listed: the numbers of the set bits of all chunks of the last layer, uint16, and where those of each chunk
            begin and end, int64 [chunks, 2]; or `UNLISTED`.
    """
    generator, leaving, entering, leave, _, block, block_to = tables
    suffixes, odd_suffix = suffix_of
    last, in_last, source_base = source
    reached, touched, sink_base = sink
    chunks, (first, end) = share
    every, spans = listed
    room = np.empty(0 if len(spans) else 64 * last.shape[1] + SPARE, dtype=np.uint16)
    many = 2 * len(block_to) * (1 + block // 64)  # bits that take as long as all blocks
    within = len(leaving) == 0
    for chunk in chunks:
        if not in_last[chunk]:
            continue
        size = spans[chunk, 1] - spans[chunk, 0] if len(spans) else many + 1
        target, _ = target_of(generator, leaving, entering, suffixes[chunk], 0) if within else (first, 0)
        if not first <= target < end:
            continue
        if block and size > many:
            touched[target] = 1
            move_blocks(last[chunk - source_base], reached[target - sink_base], block, block_to)
            continue
        if len(spans):
            bits = every[spans[chunk, 0] : spans[chunk, 1]]
        else:
            bits = room[: members(last[chunk - source_base], room)]
        splits = leave[odd_suffix[chunk]]
        if within:
            touched[target] = 1
            put(bits, splits, reached[target - sink_base])
        else:
            scatter(tables, suffixes[chunk], bits, splits, (first, end), sink)


@njit(cache=True, nogil=True)
def scatter(tables, suffix, bits, splits, only, sink):
    """Apply one generator to some bits of a chunk, the targets being several.

    Args:
        tables: `BlockTables.fields` of the generator.
        suffix: letters of the chunk's suffix, [n - P].
        bits: the numbers of the bits.
        splits: 2^16 b + q of each index.
        only: first target that is written, and one after the last.
        sink: see `push`.
    """
    generator, leaving, entering, _, enter, _, _ = tables
    (first, end), (reached, touched, base) = only, sink
    news, bitmap, words, patterns = enter.reshape(-1), reached.reshape(-1), reached.shape[1], enter.shape[1]
    goals = np.full(enter.shape[0], _UNKNOWN)  # first word of the target chunk, then the row of `enter`
    for bit in bits:
        split = np.uint64(splits[np.uint64(bit)])
        code = split >> np.uint64(16)
        goal = goals[code]
        if goal < 0:
            if goal == _OTHER:
                continue
            target, entry = target_of(generator, leaving, entering, suffix, np.int64(code))
            if not first <= target < end:
                goals[code] = _OTHER
                continue
            goal = (target - base) * words << 16 | entry * patterns
            goals[code] = goal
            touched[target] = 1
        new = np.uint64(news[np.uint64(goal & 0xFFFF) + (split & np.uint64(0xFFFF))])
        place = np.uint64(goal >> 16) + (new >> np.uint64(6))
        bitmap[place] |= np.uint64(1) << (new & np.uint64(63))


@njit(cache=True, nogil=True)
def put(bits, moved, sink):
    """Set one bit of a chunk for each given number, at the place that a table has for the number."""
    for bit in bits:
        new = np.uint64(moved[np.uint64(bit)])
        sink[new >> np.uint64(6)] |= np.uint64(1) << (new & np.uint64(63))


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

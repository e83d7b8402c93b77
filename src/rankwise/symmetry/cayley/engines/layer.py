# SPDX-License-Identifier: Apache-2.0
"""The layers of the bitmap engine, by however many threads there are: the phases, and who does which part of them.

    prepare    empty the bitmap that is to be reached, list the bits of the last layer
    push       one generator after the other; or pull, all at once
    settle     keep what is new, count it

A phase is cut into parts of which no two write the same chunk. One number says which phase is open, how many parts it
has and which is the next: whoever adds one to it has that part, and whoever finishes the last part opens the next
phase. The threads look at that number until there is something to do, since to wake a sleeping one can take longer than
a layer. Nobody waits for a thread that has no part: one that the machine gives no time to delays nothing.
"""

from collections.abc import Sequence
from math import factorial
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rankwise.symmetry.atomics import current, exchange, fetch_add
from rankwise.symmetry.cayley.engines.blocks import LEAST_BLOCK, block_tables
from rankwise.symmetry.cayley.engines.pull import pull
from rankwise.symmetry.cayley.engines.sweep import SPARE, members, push, settle, tables_of
from rankwise.symmetry.cayley.permutations import Permutation

# Source chunks in some order, and for each part (begin in that order, end, first target, one after the last target).
Parts = tuple[NDArray[np.int32], list[tuple[int, int, int, int]]]


class Stack(NamedTuple):
    """The tables of all generators, side by side: see `BlockTables`, whose fields they are, padded where they differ.

    Args:
        generators: [g, n].
        leaving: [g, P], of which the first t count.
        entering: [g, P], likewise.
        leave: [g, 1 or 2, indices].
        enter: [g, P!].
        blocks: [g, blocks], of which the first count.
        lengths: t, (P - t)!, bits of a block and number of blocks of each generator, int64 [g, 4].
    """

    generators: NDArray[np.uint8]
    leaving: NDArray[np.uint8]
    entering: NDArray[np.uint8]
    leave: NDArray[np.uint32]
    enter: NDArray[np.uint16]
    blocks: NDArray[np.uint16]
    lengths: NDArray[np.int64]


def stacked(generators: Sequence[Permutation], prefix: int, halved: bool) -> Stack:
    """The tables of all generators in one array of each kind; see `block_tables`."""
    count, ranks = len(generators), factorial(prefix)
    stack = Stack(
        generators=np.array(generators, dtype=np.uint8),
        leaving=np.zeros((count, prefix), dtype=np.uint8),
        entering=np.zeros((count, prefix), dtype=np.uint8),
        leave=np.empty((count, 1 + halved, ranks >> int(halved)), dtype=np.uint32),
        enter=np.empty((count, ranks), dtype=np.uint16),
        blocks=np.zeros((count, ranks // LEAST_BLOCK), dtype=np.uint16),
        lengths=np.empty((count, 4), dtype=np.int64),
    )
    for number, generator in enumerate(generators):
        table = block_tables(generator, prefix, halved)
        moved, blocks = len(table.leaving), len(table.block_to)
        stack.leaving[number, :moved], stack.entering[number, :moved] = table.leaving, table.entering
        stack.leave[number], stack.enter[number] = table.leave, table.enter.reshape(-1)
        stack.blocks[number, :blocks] = table.block_to
        stack.lengths[number] = moved, table.enter.shape[1], table.block, blocks
    return stack


class Shares(NamedTuple):
    """The parts of each generator's phase.

    Args:
        orders: source chunks, int32 [g, chunks].
        parts: for each part where it begins and ends in that order, and the first target that it writes and one after
            the last, int64 [g, parts, 4].
    """

    orders: NDArray[np.int32]
    parts: NDArray[np.int64]


def shares(found: list[Parts]) -> Shares:
    """The parts of all generators in two arrays; a generator with fewer parts than another gets empty ones."""
    pieces = np.zeros((len(found), max(len(parts) for _, parts in found), 4), dtype=np.int64)
    for generator, (_, parts) in enumerate(found):
        pieces[generator, : len(parts)] = parts
    return Shares(np.stack([order for order, _ in found]), pieces)


class Room(NamedTuple):
    """What the layers are searched in; all of it is written.

    Args:
        bitmaps: what was visited, the layers of even number and those of odd number, uint64 [3, chunks, words].
        flags: which chunks of the even and of the odd layer have bits, uint8 [2, chunks].
        sizes: states of the last layer in each chunk, int64 [chunks].
        listed: room for the numbers of the last layer's bits, uint16.
        spans: where those of each chunk begin and end, int64 [chunks, 2].
        control: the open phase at `STATE`, its finished parts at `DONE`, the last layer's size at `SIZE` and whether
            the next one is pulled (pull.py) at `PULLS`, int64; those that change are alone in a line of the cache.
    """

    bitmaps: NDArray[np.uint64]
    flags: NDArray[np.uint8]
    sizes: NDArray[np.int64]
    listed: NDArray[np.uint16]
    spans: NDArray[np.int64]
    control: NDArray[np.int64]


STATE, DONE, SIZE, PULLS, CONTROL = 0, 8, 16, 17, 24
HELP, STOP = -1, -(1 << 62)
MOST_PARTS = 1 << 11
_BITS = 12  # for the next part, and above them as many for the number of parts


@njit(cache=True, nogil=True)
def serve(tables, alone, together, room, layer, parts):
    """Search one layer, or help with all of them.

    Args:
        tables: `Stack`, and letters of each chunk's suffix and the parity of its prefix: see `push`.
        alone: `Shares` of one part.
        together: `Shares` of several.
        room: `Room`.
        layer: number of the last layer, from which the next is searched; or `HELP`, to take parts until the state is
            `STOP`.
        parts: how many a phase of this layer has: 1 or those of `together`.
    """
    control, phases = room.control, len(alone.orders) + 2
    if layer != HELP:
        exchange(control, STATE, (layer * phases << _BITS | parts) << _BITS)
    while True:
        state = current(control, STATE)
        if state < 0 or (layer != HELP and state >> 2 * _BITS == (layer + 1) * phases):
            return
        if _next(state) >= _count(state):
            continue
        state = fetch_add(control, STATE, 1)
        part, count = _next(state), _count(state)
        if part >= count:
            continue
        number = state >> 2 * _BITS
        phase = number % phases
        do_part(tables, alone if count == 1 else together, room, (number // phases & 1, phase), (part, count))
        if fetch_add(control, DONE, 1) == count - 1:
            control[DONE] = 0
            if phase == phases - 1:
                close(room)
                count = 0
            exchange(control, STATE, (number + 1 << _BITS | count) << _BITS)


@njit(cache=True, nogil=True)
def do_part(tables, shares, room, step, share):
    """One part of one phase.

    Args:
        tables: see `serve`.
        shares: `Shares`.
        room: `Room`.
        step: whether the last layer's number is odd, and the number of the phase.
        share: number of the part, and how many there are.
    """
    (stack, suffix_of), (odd, phase), (part, count) = tables, step, share
    last, reached = room.bitmaps[1 + odd], room.bitmaps[2 - odd]
    in_last, touched = room.flags[odd], room.flags[1 - odd]
    chunks = len(room.sizes)
    low, high = chunks * part // count, chunks * (part + 1) // count
    fits = room.control[SIZE] + SPARE * chunks <= len(room.listed)
    listed = (room.listed, room.spans[: chunks if fits else 0])
    if phase == 0:
        prepare(low, high, (reached, touched), (last, in_last), listed)
    elif phase <= len(shares.orders) and room.control[PULLS]:
        if phase == 1:
            suffixes, odd_suffix = suffix_of
            for chunk in range(low, high):
                source = (last, in_last)
                touched[chunk] = pull(
                    stack, suffixes[chunk], odd_suffix[chunk], room.bitmaps[0, chunk], source, reached[chunk]
                )
    elif phase <= len(shares.orders):
        start, stop, first, end = shares.parts[phase - 1, part]
        chosen = (shares.orders[phase - 1, start:stop], (first, end))
        push(tables_of(stack, phase - 1), suffix_of, chosen, (last, in_last, 0), (reached, touched, 0), listed)
    else:
        for chunk in range(low, high):
            room.sizes[chunk] = settle(chunk, chunk + 1, room.bitmaps[0], reached, touched)


@njit(cache=True, nogil=True)
def prepare(low, high, sink, source, listed):
    """Empty the chunks low..high-1 of one bitmap, and list the bits of another at their places."""
    (reached, touched), (last, in_last), (every, spans) = sink, source, listed
    for chunk in range(low, high):
        if touched[chunk]:
            touched[chunk] = 0
            reached[chunk, :] = 0
        if len(spans) and in_last[chunk]:
            members(last[chunk], every[spans[chunk, 0] :])


@njit(cache=True, nogil=True)
def close(room):
    """Add up the new layer, and say where its bits are to be listed."""
    total, end = 0, 0
    for chunk in range(len(room.sizes)):
        size = room.sizes[chunk]
        room.spans[chunk, 0], room.spans[chunk, 1] = end, end + size
        if size:
            total, end = total + size, end + size + SPARE
    room.control[SIZE] = total


@njit(cache=True, nogil=True)
def _next(state):
    return state & (1 << _BITS) - 1


@njit(cache=True, nogil=True)
def _count(state):
    return state >> _BITS & (1 << _BITS) - 1

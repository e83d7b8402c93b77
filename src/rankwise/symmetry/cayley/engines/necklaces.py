# SPDX-License-Identifier: Apache-2.0
"""The inner loops of the symmetry engine: one permutation for each orbit of the symmetries, and how many share it.

Where the places of a block can be exchanged at will, all that counts of a permutation are its cycles with a place read
as its block: necklaces of colors. Written in order, with the places of each block handed out from the first on, they
give one permutation for each orbit. A necklace of L beads that looks the same after r of its L rotations, and that
stands m times, leaves r^m m! exchanges that change nothing.
"""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def least_images(states, maps, turned, sorting, out):
    """The least image of every state under the symmetries, as a word, and how many symmetries give it.

    Args:
        states: permutations, uint8 [states, n].
        maps: conjugators c and their inverses, uint8 [2, symmetries, n].
        turned: for each whether x goes to c x^-1 c^-1 instead of c x c^-1.
        sorting: blocks of places, uint8 [n], and the places ordered by block, uint8 [n], if necklaces are to be put in
            order; both empty if every place is a block of its own.
        out: least images, uint8 [states, n], written here; and for each how many symmetries give it, int64 [states].
    """
    best, hits = out
    blocks, slots = sorting
    size = states.shape[1]
    back, image, form = np.empty(size, np.uint8), np.empty(size, np.uint8), np.empty(size, np.uint8)
    factors = np.empty(size, np.int64)
    for state in range(len(states)):
        for place in range(size):
            back[states[state, place]] = place
        for symmetry in range(maps.shape[1]):
            source = back if turned[symmetry] else states[state]
            order = 1 if symmetry == 0 else 0  # of the least so far: 1 above this image, 0 equal, -1 below
            if len(blocks):
                for place in range(size):
                    image[place] = maps[0, symmetry, source[maps[1, symmetry, place]]]
                arrange(image, blocks, slots, form, factors)
            for place in range(size):
                letter = form[place] if len(blocks) else maps[0, symmetry, source[maps[1, symmetry, place]]]
                if order == 0 and letter != best[state, place]:
                    order = 1 if letter < best[state, place] else -1
                if order < 0:
                    break
                if order > 0:
                    best[state, place] = letter
            if order > 0:
                hits[state] = 1
            elif order == 0:
                hits[state] += 1


@njit(cache=True, nogil=True)
def arrange(state, blocks, slots, form, factors):
    """Put the necklaces of one permutation in order.

    Args:
        state: a permutation, uint8 [n].
        blocks: the block of each place, uint8 [n].
        slots: the places ordered by block, uint8 [n].
        form: the ordered permutation, written here.
        factors: numbers whose product is how many exchanges inside blocks keep it, int64 [n], written here.
    """
    size = len(state)
    beads = np.empty(2 * size, np.uint8)  # a necklace's colors twice, to read its rotations
    words, order = np.empty((size, size), np.uint8), np.empty(size, np.int64)
    lengths, turns = np.empty(size, np.int64), np.empty(size, np.int64)
    seen = np.zeros(size, np.bool_)
    count = 0
    for first in range(size):
        if seen[first]:
            continue
        length, place = 0, first
        while not seen[place]:
            seen[place] = True
            beads[length] = blocks[place]
            length += 1
            place = np.int64(state[place])
        beads[length : 2 * length] = beads[:length]
        start, same = 0, 0
        for other in range(length):
            relation = _compare(beads[other : other + length], beads[start : start + length])
            if relation < 0:
                start, same = other, 1
            elif relation == 0:
                same += 1
        words[count, :length] = beads[start : start + length]
        lengths[count], turns[count] = length, same
        slot = count
        while slot > 0 and _before(words, lengths, count, order[slot - 1]):
            order[slot] = order[slot - 1]
            slot -= 1
        order[slot] = count
        count += 1
    _write(words, lengths, order[:count], (blocks, slots), form)
    factors[:] = 1
    run = 0
    for number in range(count):
        here = order[number]
        again = number > 0 and not _before(words, lengths, order[number - 1], here)
        run = run + 1 if again else 1
        factors[number] = run * turns[here]


@njit(cache=True, nogil=True)
def _compare(left, right):
    for place in range(len(left)):
        if left[place] != right[place]:
            return -1 if left[place] < right[place] else 1
    return 0


@njit(cache=True, nogil=True)
def _before(words, lengths, left, right):
    """Whether necklace `left` comes before `right`: shorter first, then by colors."""
    if lengths[left] != lengths[right]:
        return lengths[left] < lengths[right]
    return _compare(words[left, : lengths[left]], words[right, : lengths[right]]) < 0


@njit(cache=True, nogil=True)
def _write(words, lengths, order, sorting, form):
    """Hand the places of each block out to the beads in order, and write where each bead's place goes."""
    blocks, slots = sorting
    size = len(form)
    free = np.zeros(size, np.int64)  # for each block its next place, as a position in slots
    for position in range(size - 1, -1, -1):
        free[blocks[slots[position]]] = position
    for here in order:
        previous = first = -1
        for bead in range(lengths[here]):
            color = words[here, bead]
            place = np.int64(slots[free[color]])
            free[color] += 1
            if bead == 0:
                first = place
            else:
                form[previous] = place
            previous = place
        form[previous] = first


@njit(cache=True, nogil=True)
def kept_exchanges(states, blocks, slots, factors):
    """For each ordered permutation the factors of how many exchanges inside blocks keep it, int64 [states, n]."""
    form = np.empty(states.shape[1], np.uint8)
    for state in range(len(states)):
        arrange(states[state], blocks, slots, form, factors[state])

# SPDX-License-Identifier: Apache-2.0
"""The inner loops that move packed states: table look-ups for letters, sums of products for matrix entries."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def looked_up(states, terms, tables):
    """Move states by tables: each chunk of bits of the source is a look-up whose result is or-ed into a target word.

    Args:
        states: uint64 [m, W].
        terms: source word, shift, mask, target word and first table entry of each look-up, int64 [terms, 5].
        tables: entries of all tables, uint64.

    Returns:
        The moved states, uint64 [m, W].
    """
    moved = np.zeros_like(states)
    for row in range(len(states)):
        for term in range(len(terms)):
            bits = (states[row, terms[term, 0]] >> np.uint64(terms[term, 1])) & np.uint64(terms[term, 2])
            moved[row, terms[term, 3]] |= tables[np.uint64(terms[term, 4]) + bits]
    return moved


@njit(cache=True, nogil=True)
def multiplied(states, fields, products, ends, constants, modulus):
    """Multiply matrices of which only the entries that can change are stored.

    Args:
        states: uint64 [m, W].
        fields: word, shift and mask (-1 for a whole word) of each stored entry, int64 [entries, 3].
        products: factor and number of a stored entry, for every product in every sum, int64 [products, 2].
        ends: where each entry's products end in that list, int64 [entries].
        constants: what the entries that never change add to each sum, int64 [entries].
        modulus: m, or 0 for exact integers.

    Returns:
        The products, uint64 [m, W].
    """
    moved = np.zeros_like(states)
    entries = np.empty(len(fields), dtype=np.int64)
    for row in range(len(states)):
        for entry in range(len(fields)):
            bits = states[row, fields[entry, 0]] >> np.uint64(fields[entry, 1])
            entries[entry] = np.int64(bits & np.uint64(fields[entry, 2]))
        first = np.int64(0)
        for entry in range(len(fields)):
            total = constants[entry]
            for product in range(first, ends[entry]):
                total += products[product, 0] * entries[products[product, 1]]
            first = ends[entry]
            if modulus and total >= modulus:
                total %= modulus
            moved[row, fields[entry, 0]] |= np.uint64(total) << np.uint64(fields[entry, 1])
    return moved

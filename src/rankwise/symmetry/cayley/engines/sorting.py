# SPDX-License-Identifier: Apache-2.0
"""The inner loops on sorted packed states: sort, keep what is new, merge. Rows compare by their first word first.

Merging takes a step for each row and has no branch that depends on which row is smaller: no processor foresees that.
States of one word are handed to the loops as arrays of one axis, for which numba compiles simpler ones.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

_DIGIT = 8  # bits that a pass sorts by
_FEW = 20  # rows that insertion sorts faster than a pass
_FAR = 8  # times as many known rows: then searching beats walking


States = NDArray[np.uint64]


def keep_new(rows: States, known: States, also_known: States) -> int:
    """Move the rows that are in neither sorted array to the front, each once.

    Args:
        rows: sorted, [m, W]; overwritten.
        known: sorted, [k, W].
        also_known: sorted, [l, W].

    Returns:
        How many there are.
    """
    return int(_keep_new(_flat(rows), _flat(known), _flat(also_known)))


def merged(left: States, right: States) -> States:
    """The rows of two sorted arrays without repetitions, sorted, each once, [m, W]."""
    result = np.empty((len(left) + len(right), left.shape[1]), dtype=np.uint64)
    return result[: _merged(_flat(left), _flat(right), _flat(result))]


def sort_rows(rows: States) -> None:
    """Sort rows [m, W] in place; as much memory again is used if W > 1."""
    if rows.shape[1] == 1:
        rows.reshape(-1).sort()
    else:
        _sort_rows(rows)


def _flat(rows: States) -> States:
    return np.ascontiguousarray(rows).reshape(-1) if rows.shape[1] == 1 else np.ascontiguousarray(rows)


@njit(cache=True, nogil=True)
def _less(left, at, right, other):
    """Whether row `at` of `left` comes before row `other` of `right`."""
    if left.ndim == 1:
        return left[at] < right[other]
    for word in range(left.shape[1]):
        if left[at, word] != right[other, word]:
            return left[at, word] < right[other, word]
    return False


@njit(cache=True, nogil=True)
def _order(left, at, right, other):
    """-1, 0 or 1 as row `at` of `left` comes before, is, or comes after row `other` of `right`."""
    if left.ndim == 1:
        return np.int64(left[at] > right[other]) - np.int64(left[at] < right[other])
    for word in range(left.shape[1]):
        one, two = left[at, word], right[other, word]
        if one != two:
            return np.int64(one > two) - np.int64(one < two)
    return np.int64(0)


@njit(cache=True, nogil=True)
def _copy(target, to, source, at):
    """Row `at` of `source` becomes row `to` of `target`."""
    if target.ndim == 1:
        target[to] = source[at]
    else:
        for word in range(target.shape[1]):
            target[to, word] = source[at, word]


@njit(cache=True, nogil=True)
def _insert(rows, first, end):
    """Sort the rows first..end-1 by insertion."""
    words = rows.shape[1]
    held = np.empty((1, words), dtype=np.uint64)
    for row in range(first + 1, end):
        if not _less(rows, row, rows, row - 1):
            continue
        held[0] = rows[row]
        place = row
        while place > first and _less(held, 0, rows, place - 1):
            for word in range(words):
                rows[place, word] = rows[place - 1, word]
            place -= 1
        for word in range(words):
            rows[place, word] = held[0, word]


@njit(cache=True, nogil=True)
def _digits(rows):
    """Word and shift of each digit in which rows differ, from the most significant on."""
    found = np.empty((rows.shape[1] * 8, 2), dtype=np.int64)
    count = 0
    for word in range(rows.shape[1]):
        differ = np.uint64(0)
        for row in range(len(rows)):
            differ |= rows[row, word] ^ rows[0, word]
        top = 64
        while top > 0 and not differ >> np.uint64(top - 1):
            top -= 1
        while top > 0:
            top = max(top - _DIGIT, 0)
            found[count, 0], found[count, 1] = word, top
            count += 1
    return found[:count]


@njit(cache=True, nogil=True)
def _sort_rows(rows):
    """Sort rows in place, by one digit after the other from the most significant one."""
    digits = _digits(rows)
    if not len(digits):
        return
    other = np.empty_like(rows)
    words = rows.shape[1]
    stack = [(np.int64(0), np.int64(len(rows)), np.int64(0))]
    ends = np.empty(2**_DIGIT + 1, dtype=np.int64)
    mask = np.uint64(2**_DIGIT - 1)
    while stack:
        first, end, digit = stack.pop()
        if end - first <= _FEW:
            _insert(rows, first, end)
            continue
        word, shift = digits[digit, 0], np.uint64(digits[digit, 1])
        ends[:] = 0
        for row in range(first, end):
            ends[np.int64((rows[row, word] >> shift) & mask) + 1] += 1
        for value in range(2**_DIGIT):
            ends[value + 1] += ends[value]
        for row in range(first, end):
            value = np.int64((rows[row, word] >> shift) & mask)
            place = first + ends[value]
            ends[value] += 1
            for column in range(words):
                other[place, column] = rows[row, column]
        for row in range(first, end):
            for column in range(words):
                rows[row, column] = other[row, column]
        if digit + 1 < len(digits):
            start = first
            for value in range(2**_DIGIT):
                stop = first + ends[value]
                if stop - start > 1:
                    stack.append((start, stop, digit + 1))
                start = stop


@njit(cache=True, nogil=True)
def _reach(rows, place, key, at):
    """The first row from `place` on that does not come before the key, in steps that double and then halve."""
    step = 1
    low, high = place, place
    while high < len(rows) and _less(rows, high, key, at):
        low = high + 1
        high += step
        step *= 2
    high = min(high, len(rows))
    while low < high:
        middle = (low + high) // 2
        if _less(rows, middle, key, at):
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def _without_repetitions(rows):
    """Move the first of equal rows to the front; how many rows there are."""
    count = np.int64(min(1, len(rows)))
    for row in range(1, len(rows)):
        new = _order(rows, row, rows, row - 1)
        _copy(rows, count, rows, row)
        count += new
    return count


@njit(cache=True, nogil=True)
def _minus(rows, end, known):
    """Move those of the first `end` rows that are not known to the front; how many there are."""
    count, row, here = np.int64(0), np.int64(0), np.int64(0)
    if len(known) > _FAR * end:
        for row in range(end):
            here = _reach(known, here, rows, row)
            found = here < len(known) and _order(rows, row, known, here) == 0
            _copy(rows, count, rows, row)
            count += not found
        return count
    while row < end and here < len(known):
        order = _order(rows, row, known, here)
        _copy(rows, count, rows, row)
        count += order < 0
        row += order <= 0
        here += order >= 0
    while row < end:
        _copy(rows, count, rows, row)
        count += 1
        row += 1
    return count


@njit(cache=True, nogil=True)
def _keep_new(rows, known, also_known):
    return _minus(rows, _minus(rows, _without_repetitions(rows), known), also_known)


@njit(cache=True, nogil=True)
def _merged(left, right, result):
    """Write the rows of two sorted arrays to `result`, each once; how many there are."""
    count, here, there = np.int64(0), np.int64(0), np.int64(0)
    while here < len(left) and there < len(right):
        order = _order(left, here, right, there)
        if left.ndim == 1:
            one, two = left[here], right[there]
            result[count] = one if order <= 0 else two
        else:
            for word in range(left.shape[1]):
                one, two = left[here, word], right[there, word]
                result[count, word] = one if order <= 0 else two
        here += order <= 0
        there += order >= 0
        count += 1
    rest = count + len(left) - here + len(right) - there
    result[count : count + len(left) - here] = left[here:]
    result[count + len(left) - here : rest] = right[there:]
    return rest

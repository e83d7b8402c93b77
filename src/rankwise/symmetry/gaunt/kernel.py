# SPDX-License-Identifier: Apache-2.0
"""The separable grid for a few rows at a time, from their coefficients to those of their products in one go.

The steps are those of separable.py. Rows stand last, as many as fill four vector registers, and everything that lies
between the steps stays in the processor's nearest caches: each ring of the sphere is sampled, multiplied and taken back
before the next. Threads take the next few rows from a number that they share.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rankwise.symmetry.atomics import current, fetch_add
from rankwise.symmetry.gaunt.tiles import ROWS, TILE, multiply, transpose

LANES = 2 * TILE  # bytes of the rows that are taken together
TAKEN, DONE, PROGRESS = 0, 8, 16


class RoleTables(NamedTuple):
    """The tables of the degree L of one role, for R rings and A angles of half a circle.

    Rows are padded with zeros to a multiple of ROWS, here R', A', L'.

    Args:
        rings: values, theta and phi derivatives of the associated Legendre functions, [fields, 2, L+1, R', L+1].
        waves: cosines and sines, [2, A', L+1].
        back_waves: the same with the angles' weights, [2, L', A].
        back: Legendre functions with the rings' weights, [L+1, L', R].
        places: the harmonic at (cosine or sine, |m|, l - |m|), int64 [2, L+1, L+1].
    """

    rings: NDArray
    waves: NDArray
    back_waves: NDArray
    back: NDArray
    places: NDArray[np.int64]


@njit(cache=True, nogil=True)
def products(signals, results, tables, plan, progress, waits):
    """Products of sampled signals, until no rows are left.

    Args:
        signals: coefficients for each of the three roles, [types, rows, (L+1)^2]; empty where a role is not read.
        results: likewise, written; empty where a role is not asked for.
        tables: `RoleTables` of the three roles.
        plan: role, type and field of each sampled function, int64 [functions, 3], by role and type; role and type of
            each result, int64 [results, 2]; result and two functions of each product, int64 [products, 3]; its factor,
            [products].
        progress: how many groups of rows are taken and how many done, zeros at first.
        waits: whether to return only when all groups are done.
    """
    functions, goals, terms, factors = plan
    like = tables[0].waves
    lanes = LANES // like.itemsize
    rows = 0
    for role in range(3):
        rows = max(rows, signals[role].shape[1])
    rings, angles = tables[0].back.shape[2], tables[0].back_waves.shape[2]
    groups = -(-rows // lanes)
    group = groups
    if current(progress, TAKEN) < groups:
        most = 0
        for role in range(3):
            most = max(most, tables[role].waves.shape[2])
        turned = np.empty(most * most * lanes, dtype=like.dtype)
        by_order = np.empty(2 * most * most * lanes, dtype=like.dtype)
        on_rings = np.empty((len(functions), 2 * most * padded(rings) * lanes), dtype=like.dtype)
        on_points = np.empty((len(functions), 2, padded(angles) * lanes), dtype=like.dtype)
        multiplied = np.empty((len(goals), 2, angles * lanes), dtype=like.dtype)
        by_wave = np.empty((len(goals), 2 * padded(most) * rings * lanes), dtype=like.dtype)
        by_degree = np.empty(padded(most) * lanes, dtype=like.dtype)
        group = fetch_add(progress, TAKEN, 1)  # with all the memory there is need of: who has a group finishes it
    while group < groups:
        first = group * lanes
        for number in range(len(functions)):
            role, kind, field = functions[number]
            if field == 0:
                gather(signals[role][kind], first, tables[role].places, (turned, by_order), lanes)
            to_rings(tables[role].rings, field, by_order, on_rings[number], lanes)
        for ring in range(rings):
            for number in range(len(functions)):
                waves = tables[functions[number, 0]].waves
                to_points(waves, on_rings[number], ring, padded(rings), on_points[number], lanes)
            multiplied[:] = 0
            for term in range(len(terms)):
                goal, one, other = terms[term]
                add_products(on_points[one], on_points[other], factors[term], multiplied[goal])
            for number in range(len(goals)):
                back_waves = tables[goals[number, 0]].back_waves
                from_points(back_waves, multiplied[number], by_wave[number], ring, rings, lanes)
        for number in range(len(goals)):
            role, kind = goals[number]
            from_rings(tables[role], by_wave[number], (by_degree, turned), results[role][kind], first, lanes)
        fetch_add(progress, DONE, 1)
        group = fetch_add(progress, TAKEN, 1)
    while waits and current(progress, DONE) < groups:
        pass


@njit(cache=True, nogil=True)
def padded(rows):
    """The next multiple of ROWS."""
    return (rows + ROWS - 1) // ROWS * ROWS


@njit(cache=True, nogil=True)
def gather(signal, first, places, room, lanes):
    """The coefficients of some rows, [rows, harmonics], by order and degree, rows last; zero behind the last row."""
    (turned, by_order), harmonics, orders = room, signal.shape[1], places.shape[1]
    count = min(lanes, len(signal) - first)
    if count < lanes:
        turned[: harmonics * lanes] = 0
    transpose((signal, first * harmonics, harmonics), (turned, 0, lanes), (count, harmonics))
    for half in range(2):
        for m in range(half, orders):
            for above in range(orders - m):
                start, place = ((half * orders + m) * orders + above) * lanes, places[half, m, above] * lanes
                by_order[start : start + lanes] = turned[place : place + lanes]


@njit(cache=True, nogil=True)
def to_rings(tables, field, by_order, on_rings, lanes):
    """Sums over degrees, one matrix for each order; the phi derivative exchanges cosines and sines."""
    _, _, orders, rows, _ = tables.shape
    for half in range(2):
        source = half if field < 2 else 1 - half
        for m in range(1 if half or source else 0, orders):
            table = ((field * 2 + half) * orders + m) * rows * orders
            start = (source * orders + m) * orders * lanes
            place = (half * orders + m) * rows * lanes
            shape = (rows, orders - m)
            multiply((tables, table, orders), (by_order, start, lanes), (on_rings, place, lanes), shape, lanes)
        if source and not half:
            on_rings[: rows * lanes] = 0


@njit(cache=True, nogil=True)
def to_points(waves, on_rings, ring, rows, on_points, lanes):
    """Sums over orders at the angles of one ring: the even part from cosines, the odd one from sines."""
    _, angles, orders = waves.shape
    step = rows * lanes
    for half in range(2):
        start = (half * orders + half) * step + ring * lanes
        table = half * angles * orders + half
        target = on_points[half]
        if orders == half:
            target[:] = 0
        else:
            shape = (angles, orders - half)
            multiply((waves, table, orders), (on_rings, start, step), (target, 0, lanes), shape, lanes)


@njit(cache=True, nogil=True, fastmath={"contract"})
def add_products(one, other, factor, total):
    """Even parts times even parts and odd ones times odd ones are even, the rest is odd."""
    size = total.shape[1]
    factor = total.dtype.type(factor)
    even, odd, even_too, odd_too = one[0][:size], one[1][:size], other[0][:size], other[1][:size]
    sums = total[0]
    for place in range(size):
        sums[place] += factor * (even[place] * even_too[place] + odd[place] * odd_too[place])
    sums = total[1]
    for place in range(size):
        sums[place] += factor * (even[place] * odd_too[place] + odd[place] * even_too[place])


@njit(cache=True, nogil=True)
def from_points(back_waves, multiplied, by_wave, ring, rings, lanes):
    """Integrals over the angles of one ring against each wave."""
    _, orders, angles = back_waves.shape
    for half in range(2):
        table, place = half * orders * angles, (half * orders * rings + ring) * lanes
        shape, step = (orders, angles), rings * lanes
        multiply((back_waves, table, angles), (multiplied[half], 0, lanes), (by_wave, place, step), shape, lanes)


@njit(cache=True, nogil=True)
def from_rings(tables, by_wave, room, result, first, lanes):
    """Integrals over the rings, written to some rows of the result."""
    (by_degree, turned), (orders, rows, rings) = room, tables.back.shape
    waves, harmonics = tables.back_waves.shape[1], result.shape[1]
    for half in range(2):
        for m in range(half, orders):
            start, shape = (half * waves + m) * rings * lanes, (orders - m, rings)
            table = m * rows * rings
            multiply((tables.back, table, rings), (by_wave, start, lanes), (by_degree, 0, lanes), shape, lanes)
            for above in range(orders - m):
                place = tables.places[half, m, above] * lanes
                turned[place : place + lanes] = by_degree[above * lanes : (above + 1) * lanes]
    count = min(lanes, len(result) - first)
    transpose((turned, 0, lanes), (result, first * harmonics, harmonics), (harmonics, count))

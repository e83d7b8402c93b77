# SPDX-License-Identifier: Apache-2.0
"""Sums over the ego networks of a batch and their adjoint, compiled: one pass over all entries of all networks.

Networks differ in size, and most are small; as operations on dense tensors, one set for each size, they cost more to
start than to run. Rows are whole vectors: d times the size of a number is a multiple of VECTOR.
"""

from numba import njit

from rankwise.symmetry.vectors import VECTOR, add_vectors, copy_vector


@njit(cache=True, nogil=True)
def contract(table, lists, means, parts):
    """The contractions of the m x m entries of every network.

    Args:
        table: the rows that the entries stand for, [rows, d].
        lists: the row of each entry, network by network, row by row, and the size m of each network.
        means: whether a sum over an index is divided by m.
        parts: written, totals and traces, [networks, 2 d]; row sums, column sums and diagonals, [nodes, 3 d]; and
            nothing, the entries, or the entries and their transpose, [entries, 0, d or 2 d].
    """
    (places, sizes), (scalars, vectors, entries) = lists, parts
    d, step = table.shape[1], VECTOR // table.itemsize
    copies, one = entries.shape[1] // d, table.dtype.type(1)
    flat, totals, on_nodes, copied = table.reshape(-1), scalars.reshape(-1), vectors.reshape(-1), entries.reshape(-1)
    totals[:] = 0
    on_nodes[:] = 0
    node, start = 0, 0  # the network's first node, its first entry
    for network in range(len(sizes)):
        m, total = sizes[network], 2 * network * d
        trace = total + d
        scale = table.dtype.type(1 / m) if means else one
        for i in range(m):
            row = 3 * (node + i) * d
            for j in range(m):
                entry, column = start + i * m + j, (3 * (node + j) + 1) * d
                values, copy, turned = places[entry] * d, copies * entry * d, (2 * (start + j * m + i) + 1) * d
                for c in range(0, d, step):
                    add_vectors(on_nodes, row + c, ((flat, values + c, scale),))
                    add_vectors(on_nodes, column + c, ((flat, values + c, scale),))
                    if copies > 0:
                        copy_vector(copied, copy + c, flat, values + c)
                    if copies > 1:
                        copy_vector(copied, turned + c, flat, values + c)
            values = places[start + i * m + i] * d
            diagonal = row + 2 * d
            for c in range(0, d, step):
                copy_vector(on_nodes, diagonal + c, flat, values + c)
                add_vectors(totals, total + c, ((on_nodes, row + c, scale),))
                add_vectors(totals, trace + c, ((flat, values + c, scale),))
        node, start = node + m, start + m * m


@njit(cache=True, nogil=True)
def embed(table, lists, means, parts):
    """The adjoint of `contract`: arguments are the same; the table is written, the parts are read."""
    (places, sizes), (scalars, vectors, entries) = lists, parts
    d, step = table.shape[1], VECTOR // table.itemsize
    copies, one = entries.shape[1] // d, table.dtype.type(1)
    flat, totals, on_nodes, copied = table.reshape(-1), scalars.reshape(-1), vectors.reshape(-1), entries.reshape(-1)
    flat[:] = 0
    node, start = 0, 0
    for network in range(len(sizes)):
        m, everywhere = sizes[network], 2 * network * d
        trace = everywhere + d
        scale = table.dtype.type(1 / m) if means else one
        for i in range(m):
            row = 3 * (node + i) * d
            for j in range(m):
                entry, column = start + i * m + j, (3 * (node + j) + 1) * d
                values, copy, turned = places[entry] * d, copies * entry * d, (2 * (start + j * m + i) + 1) * d
                for c in range(0, d, step):  # one store: what is read back at once has to be waited for
                    by_row, by_column = (on_nodes, row + c, scale), (on_nodes, column + c, scale)
                    total = (totals, everywhere + c, scale * scale)
                    if copies == 0:
                        add_vectors(flat, values + c, (by_row, by_column, total))
                    elif copies == 1:
                        add_vectors(flat, values + c, (by_row, by_column, total, (copied, copy + c, one)))
                    else:
                        add_vectors(
                            flat,
                            values + c,
                            (by_row, by_column, total, (copied, copy + c, one), (copied, turned + c, one)),
                        )
            values = places[start + i * m + i] * d
            diagonal = row + 2 * d
            for c in range(0, d, step):
                add_vectors(flat, values + c, ((on_nodes, diagonal + c, one), (totals, trace + c, scale)))
        node, start = node + m, start + m * m

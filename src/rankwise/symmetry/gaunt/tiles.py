# SPDX-License-Identifier: Apache-2.0
"""Products of small matrices with many columns, and transposes, in vector registers.

    C[i, v] = sum_k A[i, k] B[k, v]        6 rows i and two vectors v at a time
    C[i, j] = A[j, i]                      a square of vectors at a time

The twelve sums stay in registers while k runs; that is what a library's product does for large matrices, and what it
has no time for when k runs to ten. numba has no vectors, so both are written as instructions for LLVM, which knows what
the processor has: fused multiply-adds where there are any.
"""

from typing import Any, Protocol, cast

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

ROWS = 6
_VECTOR = 32  # bytes
_VECTORS = 2
TILE = _VECTOR * _VECTORS  # bytes of a row of C that are computed at a time


class _Tile(Protocol):
    def __call__(self, a: Any, b: Any, c: Any, places: Any) -> Any: ...


class _Square(Protocol):
    def __call__(self, a: Any, c: Any, places: Any) -> Any: ...


class _Memory:
    """The memory of a contiguous array, from a place on and with a distance from row to row."""

    def __init__(self, context, builder, array_type, array, place) -> None:
        self.builder, self.data = builder, context.make_array(array_type)(context, builder, array).data
        self.start, self.step = place
        self.number = context.get_data_type(array_type.dtype)
        self.size = context.get_abi_sizeof(self.number)
        self.vector = ir.VectorType(self.number, _VECTOR // self.size)

    def at(self, row, column):
        """The address of one number."""
        builder, kind = self.builder, self.start.type
        row = ir.Constant(kind, row) if isinstance(row, int) else row
        column = ir.Constant(kind, column) if isinstance(column, int) else column
        return builder.gep(self.data, [builder.add(builder.add(self.start, builder.mul(self.step, row)), column)])

    def load(self, row, column):
        """The vector that begins there."""
        found = self.builder.load(self.builder.bitcast(self.at(row, column), self.vector.as_pointer()))
        found.align = self.size
        return found

    def store(self, value, row, column) -> None:
        """Write a vector that begins there."""
        place = self.builder.bitcast(self.at(row, column), self.vector.as_pointer())
        self.builder.store(value, place).align = self.size


def _memories(context, builder, signature, arguments) -> list[_Memory]:
    """The arrays before the last argument at the places that it names."""
    places = [builder.extract_value(arguments[-1], i) for i in range(2 * len(arguments) - 2)]
    pairs = zip(places[::2], places[1::2], strict=True)
    return [
        _Memory(context, builder, kind, array, place)
        for kind, array, place in zip(signature.args[:-1], arguments[:-1], pairs, strict=True)
    ]


@intrinsic
def _tile(typingcontext, a, b, c, places):
    """Six rows of C = A B, two vectors wide.

    `places` are where the first rows of A, B and C begin and how far the next ones are, and the number of terms.
    """

    def generate(context, builder, signature, arguments):
        one, other, result = _memories(context, builder, signature, arguments)
        vector, width = one.vector, one.vector.count
        add_product = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{width}f{8 * one.size}"
        )
        cells = [(i, part) for i in range(ROWS) for part in range(_VECTORS)]
        sums = {cell: cgutils.alloca_once(builder, vector) for cell in cells}
        for cell in cells:
            builder.store(ir.Constant(vector, [0.0] * width), sums[cell])
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width)
        nothing = ir.Constant(vector, ir.Undefined)
        with cgutils.for_range(builder, builder.extract_value(arguments[3], 6)) as loop:
            columns = [other.load(loop.index, part * width) for part in range(_VECTORS)]
            for i, part in cells:
                if part == 0:
                    factor = builder.load(one.at(i, loop.index))
                    factors = builder.insert_element(nothing, factor, ir.Constant(ir.IntType(32), 0))
                    factors = builder.shuffle_vector(factors, nothing, everywhere)
                sum_ = builder.call(add_product, [factors, columns[part], builder.load(sums[i, part])])
                builder.store(sum_, sums[i, part])
        for i, part in cells:
            result.store(builder.load(sums[i, part]), i, part * width)
        return context.get_dummy_value()

    return types.void(a, b, c, types.UniTuple(types.int64, 7)), generate


@intrinsic
def _square(typingcontext, a, c, places):
    """The transpose of as many rows of A as a vector has numbers, one vector wide; places as for `_tile`."""

    def generate(context, builder, signature, arguments):
        source, sink = _memories(context, builder, signature, arguments)
        width = source.vector.count
        rows = [source.load(i, 0) for i in range(width)]
        distance = width // 2
        while distance:  # exchange the off-diagonal squares of each square, smaller ones every time
            for i in range(width):
                if not i & distance:
                    upper, lower = rows[i], rows[i + distance]
                    first = [width + j - distance if j & distance else j for j in range(width)]
                    second = [width + j if j & distance else j + distance for j in range(width)]
                    rows[i], rows[i + distance] = (
                        builder.shuffle_vector(upper, lower, ir.Constant(ir.VectorType(ir.IntType(32), width), mask))
                        for mask in (first, second)
                    )
            distance //= 2
        for i, row in enumerate(rows):
            sink.store(row, i, 0)
        return context.get_dummy_value()

    return types.void(a, c, types.UniTuple(types.int64, 4)), generate


_put_tile = cast(_Tile, _tile)
_put_square = cast(_Square, _square)


@njit(cache=True, nogil=True)
def multiply(one, other, result, shape, lanes):
    """C = A B, for `lanes` columns.

    Args:
        one: an array that holds A, where A begins in it, and how far apart its rows are, which are padded to a multiple
            of ROWS.
        other: likewise for B.
        result: likewise for C, which is written, its padded rows too.
        shape: rows of C without padding, and terms of each sum.
        lanes: columns, a multiple of TILE bytes.
    """
    (a, from_a, step_a), (b, from_b, step_b), (c, to_c, step_c) = one, other, result
    rows, terms = shape
    for column in range(0, lanes, TILE // a.itemsize):
        for row in range(0, rows, ROWS):
            places = (
                from_a + row * step_a,
                step_a,
                from_b + column,
                step_b,
                to_c + row * step_c + column,
                step_c,
                terms,
            )
            _put_tile(a, b, c, places)


@njit(cache=True, nogil=True)
def transpose(one, result, shape):
    """C = A transposed.

    Args:
        one: an array that holds A, where A begins in it, and how far apart its rows are.
        result: likewise for C, which is written.
        shape: rows and columns of A.
    """
    (a, from_a, step_a), (c, to_c, step_c), (rows, columns) = one, result, shape
    width = _VECTOR // a.itemsize
    whole_rows, whole_columns = rows // width * width, columns // width * width
    for row in range(0, whole_rows, width):
        for column in range(0, whole_columns, width):
            _put_square(a, c, (from_a + row * step_a + column, step_a, to_c + column * step_c + row, step_c))
    source, sink = a.reshape(-1), c.reshape(-1)
    for row in range(rows):
        for column in range(whole_columns if row < whole_rows else 0, columns):
            sink[to_c + column * step_c + row] = source[from_a + row * step_a + column]

# SPDX-License-Identifier: Apache-2.0
"""Sums and copies of vectors, for compiled loops over millions of short rows.

A loop over the 16 or 32 numbers of a row costs more to prepare, since arrays could overlap, than to run. Here it is one
operation, which numba has no word for: LLVM's vectors. That target and sources do not overlap is the caller's promise.
"""

from typing import Any, Protocol, cast

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

VECTOR = 64  # bytes; processors with shorter registers take several


class _Adding(Protocol):
    def __call__(self, target: Any, place: Any, sources: Any) -> Any: ...


class _Copying(Protocol):
    def __call__(self, target: Any, place: Any, source: Any, source_place: Any) -> Any: ...


class _Vectors:
    """The vectors of a flat array."""

    def __init__(self, context, builder, array_type, array) -> None:
        self.builder, self.array_type = builder, array_type
        self.made = context.make_array(array_type)(context, builder, array)
        self.context, number = context, context.get_data_type(array_type.dtype)
        self.size = context.get_abi_sizeof(number)
        self.kind = ir.VectorType(number, VECTOR // self.size)

    def address(self, place):
        """Where the vector begins whose first number stands at a place."""
        at = cgutils.get_item_pointer(self.context, self.builder, self.array_type, self.made, [place])
        return self.builder.bitcast(at, self.kind.as_pointer())

    def load(self, address):
        """The vector at an address."""
        found = self.builder.load(address)
        found.align = self.size
        return found

    def store(self, vector, address) -> None:
        """Write the vector at an address."""
        self.builder.store(vector, address).align = self.size

    def filled(self, number):
        """A number in all places of a vector."""
        none, index = ir.Constant(self.kind, ir.Undefined), ir.IntType(32)
        everywhere = ir.Constant(ir.VectorType(index, self.kind.count), [0] * self.kind.count)
        return self.builder.shuffle_vector(self.builder.insert_element(none, number, index(0)), none, everywhere)


@intrinsic
def _add_vectors(typingcontext, target, place, sources):
    """Add vectors to the one that begins at a place of a flat array, with one store.

    Each source is (flat array, place, factor); all are of the target's dtype.
    """

    def generate(context, builder, signature, arguments):
        result = _Vectors(context, builder, signature.args[0], arguments[0])
        address = result.address(arguments[1])
        total = result.load(address)
        for number, (array_type, *_) in enumerate(signature.args[2]):
            array, place, factor = (builder.extract_value(arguments[2], (number, part)) for part in range(3))
            source = _Vectors(context, builder, array_type, array)
            scaled = builder.fmul(source.load(source.address(place)), source.filled(factor), flags=["contract"])
            total = builder.fadd(total, scaled, flags=["contract"])
        result.store(total, address)
        return context.get_dummy_value()

    return types.void(target, types.int64, sources), generate


@intrinsic
def _copy_vector(typingcontext, target, place, source, source_place):
    """Write a vector of one flat array into another."""

    def generate(context, builder, signature, arguments):
        result = _Vectors(context, builder, signature.args[0], arguments[0])
        given = _Vectors(context, builder, signature.args[2], arguments[2])
        result.store(given.load(given.address(arguments[3])), result.address(arguments[1]))
        return context.get_dummy_value()

    return types.void(target, types.int64, source, types.int64), generate


copy_vector = cast(_Copying, _copy_vector)
add_vectors = cast(_Adding, _add_vectors)

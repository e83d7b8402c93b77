# SPDX-License-Identifier: Apache-2.0
"""Two processor instructions that numba has no name for: lowest set bit and number of set bits of 64-bit words."""

from typing import Any, Protocol, cast

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


class _Instruction(Protocol):
    def __call__(self, word: Any) -> Any: ...


@intrinsic
def _lowest_bit(typingcontext, word):
    """The number of the lowest set bit of a uint64; 64 if it is zero."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), generate


@intrinsic
def _set_bits(typingcontext, word):
    """How many bits of a uint64 are set."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


lowest_bit = cast(_Instruction, _lowest_bit)
set_bits = cast(_Instruction, _set_bits)

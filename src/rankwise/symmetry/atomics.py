# SPDX-License-Identifier: Apache-2.0
"""Numbers that threads share without a lock, for compiled loops that divide their work among themselves."""

from typing import Any, Protocol, cast

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


class _Writing(Protocol):
    def __call__(self, numbers: Any, index: Any, value: Any) -> Any: ...


class _Reading(Protocol):
    def __call__(self, numbers: Any, index: Any) -> Any: ...


def _place(context, builder, array_type, array, index):
    """The address of one number of an array."""
    made = context.make_array(array_type)(context, builder, array)
    return cgutils.get_item_pointer(context, builder, array_type, made, [index])


def _replacing(operation: str):
    """The code that replaces one number at once, so that no other thread comes between, and gives the one before."""

    def generate(context, builder, signature, arguments):
        place = _place(context, builder, signature.args[0], *arguments[:2])
        return builder.atomic_rmw(operation, place, arguments[2], "seq_cst")

    return generate


@intrinsic
def _fetch_add(typingcontext, numbers, index, value):
    """Add to one number of an int64 array; the number before."""
    return types.int64(numbers, types.int64, types.int64), _replacing("add")


@intrinsic
def _exchange(typingcontext, numbers, index, value):
    """Write one number of an int64 array after everything that was written before; the number before."""
    return types.int64(numbers, types.int64, types.int64), _replacing("xchg")


@intrinsic
def _current(typingcontext, numbers, index):
    """One number of an int64 array as other threads have written it."""

    def generate(context, builder, signature, arguments):
        return builder.load_atomic(_place(context, builder, signature.args[0], *arguments), "seq_cst", 8)

    return types.int64(numbers, types.int64), generate


fetch_add = cast(_Writing, _fetch_add)
exchange = cast(_Writing, _exchange)
current = cast(_Reading, _current)

# SPDX-License-Identifier: Apache-2.0
"""Two routines of scipy's BLAS and LAPACK, called so that other threads of Python run meanwhile.

scipy's own wrappers keep the interpreter to themselves, and then several matrices cannot be reduced at once.
"""

import ctypes
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.linalg import cython_blas, cython_lapack, get_lapack_funcs  # pyright: ignore[reportAttributeAccessIssue]

_BLOCK = 64  # columns that LAPACK reduces together


class Reduced(NamedTuple):
    """A symmetric matrix Q T Q^T with T tridiagonal.

    Attributes:
        packed: the Householder vectors of Q as LAPACK packs them, [n, n].
        tau: their factors, [n - 1].
        diagonal: of T, [n].
        off: beside the diagonal, [n - 1].
    """

    packed: ndarray
    tau: ndarray
    diagonal: ndarray
    off: ndarray

    def times(self, x: Float[ndarray, "n k"], transposed: bool = False) -> Float[ndarray, "n k"]:
        """Q x, or Q^T x."""
        turned = np.array(x, order="F")
        if len(self.tau):
            (ormqr,) = get_lapack_funcs(("ormqr",), (self.packed,))
            way, work = "T" if transposed else "N", _BLOCK * turned.shape[1]
            turned[1:] = ormqr("L", way, self.packed[1:, :-1], self.tau, turned[1:], lwork=work)[0]
        return turned


def reduced(symmetric: Float[ndarray, "n n"]) -> Reduced:
    """Reduce a matrix in float32 or float64, of which the lower triangle is read (?sytrd)."""
    size, dtype = len(symmetric), symmetric.dtype
    packed, work = np.array(symmetric, order="F"), np.empty(_BLOCK * size, dtype)
    diagonal, off, tau = np.empty(size, dtype), np.empty(size - 1, dtype), np.empty(size - 1, dtype)
    numbers = np.array([size, len(work), 0], dtype=np.intc)
    n, length, info = (numbers[place:].ctypes for place in range(3))
    arrays = [one.ctypes for one in (diagonal, off, tau, work)]
    _routine(cython_lapack, "sytrd", dtype)(b"L", n, packed.ctypes, n, *arrays, length, info)
    assert numbers[2] == 0, numbers[2]
    return Reduced(packed, tau, diagonal, off)


def gram_matrix(matrix: Float[ndarray, "out in"], tall: bool) -> Float[ndarray, "n n"]:
    """W W^T, or W^T W for a tall matrix; the lower triangle alone, which is half the work (?syrk)."""
    matrix = np.ascontiguousarray(matrix)
    out, columns = matrix.shape
    size, dtype = columns if tall else out, matrix.dtype
    result = np.zeros((size, size), dtype, order="F")
    numbers, scales = np.array([size, out if tall else columns, columns], dtype=np.intc), np.array([1, 0], dtype)
    n, inner, leading = (numbers[place:].ctypes for place in range(3))
    # To Fortran, which counts by columns, the array is W^T.
    way = b"N" if tall else b"T"
    product = _routine(cython_blas, "syrk", dtype)
    product(b"L", way, n, inner, scales.ctypes, matrix.ctypes, leading, scales[1:].ctypes, result.ctypes, n)
    return result


@lru_cache
def _routine(module: object, name: str, dtype: np.dtype) -> Callable[..., None]:
    """A routine by its address; all its arguments are pointers."""
    capsule = module.__pyx_capi__[("s" if dtype == np.float32 else "d") + name]  # type: ignore[attr-defined]
    kind = ctypes.pythonapi.PyCapsule_GetName(ctypes.py_object(capsule))
    address = ctypes.pythonapi.PyCapsule_GetPointer(ctypes.py_object(capsule), kind)
    return ctypes.CFUNCTYPE(None)(address)


ctypes.pythonapi.PyCapsule_GetName.restype = ctypes.c_char_p
ctypes.pythonapi.PyCapsule_GetName.argtypes = [ctypes.py_object]
ctypes.pythonapi.PyCapsule_GetPointer.restype = ctypes.c_void_p
ctypes.pythonapi.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]

# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from numba import njit

from rankwise.symmetry.vectors import VECTOR, add_vectors, copy_vector


@njit
def added(target, place, one, other, factor):
    add_vectors(target, place, ((one, 1, factor), (other, 0, factor * factor)))


@njit
def copied(target, place, source):
    copy_vector(target, place, source, 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_vector_is_written_and_nothing_beside_it(dtype):
    width = VECTOR // np.dtype(dtype).itemsize
    generator = np.random.default_rng(0)
    one, other, target = generator.standard_normal((3, 2 * width)).astype(dtype)
    expected = target.copy()
    expected[3 : 3 + width] += 0.5 * one[1 : 1 + width] + 0.25 * other[:width]
    added(target, 3, one, other, dtype(0.5))
    np.testing.assert_allclose(target, expected, rtol=8 * np.finfo(dtype).eps)
    expected = target.copy()
    expected[5 : 5 + width] = one[2 : 2 + width]
    copied(target, 5, one)
    assert np.array_equal(target, expected)

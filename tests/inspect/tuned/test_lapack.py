# SPDX-License-Identifier: Apache-2.0
"""Routines that are called by their addresses, against numpy."""

import numpy as np
import pytest

from rankwise.inspect.tuned.lapack import gram_matrix, reduced


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 8), (8, 3), (90, 90), (1, 5), (5, 1)])
def test_lower_triangle_of_a_gram_matrix(shape, dtype):
    matrix = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    for given in (matrix, np.asfortranarray(matrix)):
        for tall, expected in ((False, matrix @ matrix.T), (True, matrix.T @ matrix)):
            found = gram_matrix(given, tall)
            assert found.dtype == dtype
            np.testing.assert_allclose(found, np.tril(expected), rtol=0, atol=200 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 2, 5, 130])
def test_reduction_is_a_similarity_to_a_tridiagonal_matrix(size, dtype):
    generator = np.random.default_rng(0)
    matrix = generator.standard_normal((size, size)).astype(dtype)
    symmetric = matrix + matrix.T
    before = np.tril(symmetric)
    found = reduced(before)
    np.testing.assert_array_equal(before, np.tril(symmetric))
    three = np.diag(found.diagonal) + np.diag(found.off, 1) + np.diag(found.off, -1)
    q = found.times(np.eye(size, dtype=dtype))
    close = 50 * size * np.finfo(dtype).eps
    np.testing.assert_allclose(q @ three @ q.T, symmetric, rtol=0, atol=close)
    np.testing.assert_allclose(found.times(q, transposed=True), np.eye(size), rtol=0, atol=close)

# SPDX-License-Identifier: Apache-2.0
"""Singular value decompositions: against numpy, the best approximation, products of factors, dtypes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from random_layers import draw
from rankwise.linalg import svd, svd_of_product, wide
from rankwise.testing import assert_close

shapes = st.tuples(st.integers(1, 6), st.integers(1, 6))


def test_singular_values_are_those_of_numpy() -> None:
    matrix = draw(5, 3)
    assert_close(svd(matrix)[1], torch.from_numpy(np.linalg.svd(matrix.numpy(), compute_uv=False)))


def test_a_known_decomposition() -> None:
    u, s, v = svd(torch.tensor([[0.0, -3.0], [2.0, 0.0], [0.0, 0.0]], dtype=torch.float64))
    assert_close(s, torch.tensor([3.0, 2.0]))
    assert_close(u.abs(), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    assert_close(v.abs(), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))


@given(shapes, st.integers(0, 100))
def test_factors_are_orthonormal_and_give_the_matrix_back(shape: tuple[int, int], seed: int) -> None:
    matrix = draw(2, *shape, seed=seed)
    u, s, v = svd(matrix)
    eye = torch.eye(min(shape)).expand(2, -1, -1)
    assert_close((u * s[..., None, :]) @ v, matrix)
    assert_close(u.mT @ u, eye)
    assert_close(v @ v.mT, eye)
    assert bool((s[..., 1:] <= s[..., :-1]).all())


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_cut_is_the_best_approximation(rank: int) -> None:
    matrix = draw(4, 6)
    u, s, v = svd(matrix, rank)
    assert u.shape == (4, rank) and s.shape == (rank,) and v.shape == (rank, 6)
    error = torch.linalg.matrix_norm(matrix - (u * s) @ v)
    left, right = draw(4, rank, seed=1), draw(rank, 6, seed=2)
    for _ in range(200):  # alternating least squares, which finds the best approximation without an SVD
        left = torch.linalg.lstsq(right.mT, matrix.mT).solution.mT
        right = torch.linalg.lstsq(left, matrix).solution
    # not the table's tolerance: the alternation converges linearly and is cut off
    torch.testing.assert_close(error, torch.linalg.matrix_norm(matrix - left @ right), rtol=1e-6, atol=0)


def test_half_precision_is_decomposed_in_float32() -> None:
    matrix = draw(4, 3, dtype=torch.bfloat16)
    u, s, v = svd(matrix)
    assert u.dtype == s.dtype == v.dtype == torch.float32
    assert_close((u * s) @ v, matrix.float())


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
    ],
)
def test_wide(dtype: torch.dtype, expected: torch.dtype) -> None:
    assert wide(dtype) == expected


@given(shapes, st.integers(1, 8), st.integers(0, 100))
def test_a_product_is_decomposed_like_the_dense_matrix(shape: tuple[int, int], rank: int, seed: int) -> None:
    left, right = draw(2, shape[0], rank, seed=seed), draw(2, rank, shape[1], seed=seed + 1)
    u, s, v = svd_of_product(left, right)
    dense = left @ right
    assert_close((u * s[..., None, :]) @ v, dense)
    expected = svd(dense)[1]
    shared = min(s.shape[-1], expected.shape[-1])
    assert_close(s[..., :shared], expected[..., :shared])
    assert_close(expected[..., shared:], torch.zeros_like(expected[..., shared:]))
    assert_close(s[..., shared:], torch.zeros_like(s[..., shared:]))


def test_a_product_of_half_precision_factors_is_decomposed_in_float32() -> None:
    left, right = draw(5, 2, dtype=torch.bfloat16), draw(2, 4, seed=1, dtype=torch.bfloat16)
    u, s, v = svd_of_product(left, right)
    assert u.dtype == torch.float32
    assert_close((u * s) @ v, left.float() @ right.float())


def test_a_matrix_with_nan_is_refused() -> None:
    with pytest.raises(torch.linalg.LinAlgError):
        svd(torch.full((3, 3), float("nan")))

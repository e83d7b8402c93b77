# SPDX-License-Identifier: Apache-2.0
"""LDU factors: against elimination written out, their shape, singular matrices, a given order of rows."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from random_layers import draw
from rankwise.linalg.ldu import LDU, TINY, ldu
from rankwise.testing import assert_close

SHAPES = [(4, 4), (6, 4), (4, 6), (1, 3), (3, 1)]


def product(factors: LDU) -> Tensor:
    return (factors.left * factors.d[..., None, :]) @ factors.right


def eliminated(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    """Gaussian elimination with row pivoting, number by number, for a matrix without zero pivots."""
    rest, rows = matrix.clone(), list(range(matrix.shape[0]))
    columns, pivots, upper = [], [], []
    for j in range(min(matrix.shape)):
        best = max(range(j, len(rows)), key=lambda i: abs(float(rest[rows[i], j])))
        rows[j], rows[best] = rows[best], rows[j]
        pivot = rest[rows[j], j].clone()
        columns.append(rest[:, j] / pivot)
        pivots.append(pivot)
        upper.append(rest[rows[j]] / pivot)
        rest -= torch.outer(columns[-1], pivot * upper[-1])
        rest[rows[j]] = 0
    return torch.stack(columns, 1), torch.stack(pivots), torch.stack(upper), rows


@pytest.mark.parametrize("shape", SHAPES)
def test_the_factors_are_those_of_elimination_by_hand(shape: tuple[int, int]) -> None:
    factors, (left, d, right, rows) = ldu(draw(*shape)), eliminated(draw(*shape))
    k = min(shape)
    assert factors.rows[:k].tolist() == rows[:k]
    assert_close(factors.left, left)
    assert_close(factors.d, d)
    assert_close(factors.right, right)


def test_a_known_factorisation() -> None:
    factors = ldu(torch.tensor([[1.0, 2.0], [4.0, 6.0]]))  # the second row comes first; 2 - 6 / 4 = 0.5
    assert factors.rows.tolist() == [1, 0]
    assert_close(factors.left, torch.tensor([[0.25, 1.0], [1.0, 0.0]]))
    assert_close(factors.d, torch.tensor([4.0, 0.5]))
    assert_close(factors.right, torch.tensor([[1.0, 1.5], [0.0, 1.0]]))


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 1000))
def test_triangles_and_product(out: int, in_features: int, seed: int) -> None:
    matrix = draw(2, out, in_features, seed=seed)
    factors, k = ldu(matrix), min(out, in_features)
    assume(bool((factors.d != 0).all()))  # dropped components: see the tests of singular matrices
    assert_close(product(factors), matrix)
    lower = factors.left.gather(-2, factors.rows[..., None].expand_as(factors.left))
    assert_close(lower.triu(1), torch.zeros_like(lower))
    assert_close(lower.diagonal(dim1=-2, dim2=-1), torch.ones(2, k))
    assert float(lower.abs().max()) <= 1 + 1e-12
    assert_close(factors.right.tril(-1), torch.zeros_like(factors.right))
    assert_close(factors.right.diagonal(dim1=-2, dim2=-1), torch.ones(2, k))
    assert factors.rows.sort(-1).values.tolist() == [list(range(out))] * 2


def test_a_stack_is_factored_one_by_one() -> None:
    stack = draw(2, 3, 5, 4)
    together = ldu(stack)
    for i in range(2):
        for j in range(3):
            for part, alone in zip(together, ldu(stack[i, j]), strict=True):
                assert torch.equal(part[i, j], alone)


def test_half_precision_is_factored_in_float64() -> None:
    matrix = draw(4, 4).bfloat16()
    factors = ldu(matrix)
    assert factors.d.dtype == torch.float64
    assert_close(product(factors), matrix.double())


@pytest.mark.parametrize("column", [0, 2, 4])
def test_a_zero_column_drops_one_component(column: int) -> None:
    matrix = draw(6, 5)
    matrix[:, column] = 0
    factors = ldu(matrix)
    assert all(bool(part.isfinite().all()) for part in factors[:3])
    dropped = factors.d == 0
    assert int(dropped.sum()) == 1 and bool(dropped[column])
    assert not factors.left[:, column].any() and not factors.right[column].any()


def test_repeated_rows_leave_only_independent_components() -> None:
    matrix = draw(3, 5)[[0, 1, 0, 2, 1]]
    factors = ldu(matrix)
    assert int((factors.d != 0).sum()) == 3
    assert_close(product(factors), matrix)  # nothing but zero rows was dropped


def test_a_pivot_below_the_threshold_is_dropped() -> None:
    for size, kept in ((2 * TINY, 2), (TINY / 2, 1)):
        assert int((ldu(torch.tensor([[1.0, 1.0], [0.0, size]])).d != 0).sum()) == kept


def test_a_zero_matrix_has_no_component() -> None:
    factors = ldu(torch.zeros(3, 4))
    assert not factors.left.any() and not factors.d.any() and not factors.right.any()


@pytest.mark.parametrize("shape", [(40, 40), (60, 40), (40, 60), (2, 30, 20)])
def test_a_given_order_gives_the_same_factors(shape: tuple[int, ...]) -> None:
    matrix = draw(*shape)
    free = ldu(matrix)
    kept = ldu(matrix, free.rows[..., :10])
    assert torch.equal(kept.rows[..., :10], free.rows[..., :10])
    assert_close(kept.left[..., :10], free.left[..., :10])
    assert_close(kept.d[..., :10], free.d[..., :10])
    assert_close(kept.right[..., :10, :], free.right[..., :10, :])


def test_a_given_order_survives_rounding_that_would_change_the_pivots() -> None:
    matrix = draw(120, 100)
    exact, rounded = ldu(matrix), ldu(matrix.bfloat16())
    assert rounded.rows.tolist() != exact.rows.tolist()
    kept = ldu(matrix.bfloat16(), exact.rows[:100])
    assert kept.rows[:100].tolist() == exact.rows[:100].tolist()
    far, near = (torch.linalg.matrix_norm(other.left - exact.left) for other in (rounded, kept))
    assert float(near) < 0.05 * float(far)


def test_an_order_that_needs_large_multipliers_is_not_kept() -> None:
    matrix = torch.tensor([[1e-6, 1.0], [1.0, 1.0]])
    assert ldu(matrix, torch.tensor([0])).rows.tolist() == [1, 0]


def test_no_permutation_matrix_is_built() -> None:
    factors = ldu(draw(200_000, 2))  # a dense one would take 320 GB
    assert factors.rows.shape == (200_000,)

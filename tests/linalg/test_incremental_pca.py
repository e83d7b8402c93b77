# SPDX-License-Identifier: Apache-2.0
"""Streaming principal components against a decomposition of all rows at once, and what each backend promises."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from random_layers import draw
from rankwise.linalg.incremental_pca import GramPCA, IncrementalPCA, PrincipalComponents
from rankwise.testing import assert_close


def rows(count: int, features: int = 6, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Correlated rows with a mean far from zero and well separated variances."""
    mixing = torch.linalg.qr(draw(features, features, seed=9))[0] * 2.0 ** -torch.arange(features).double()[:, None]
    return (3 + draw(count, features, seed=seed) @ mixing).to(dtype)


def at_once(x: Tensor, count: int, center: bool = True) -> PrincipalComponents:
    """The definition."""
    x = x - x.mean(0) if center else x
    _, s, v = torch.linalg.svd(x, full_matrices=False)
    v = v * torch.sign(v.gather(1, v.abs().argmax(1, keepdim=True)))
    return PrincipalComponents(v[:count], s[:count], len(x), x.square().mean(0).sum())


def streamed(kind: str, x: Tensor, parts: list[int], count: int, center: bool = True) -> PrincipalComponents:
    """The rows in parts of these sizes through one of the backends."""
    if kind == "gram":
        pca = GramPCA(center=center)
        for part in x.split(parts):
            pca.update(part)
        return pca.components(count)
    incremental = IncrementalPCA(count, center=center)
    for part in x.split(parts):
        incremental.update(part)
    return incremental.components()


def assert_same(actual: PrincipalComponents, expected: PrincipalComponents) -> None:
    assert actual.rows == expected.rows
    assert_close(actual.directions, expected.directions)
    assert_close(actual.singular_values, expected.singular_values)
    assert_close(actual.explained_variance, expected.explained_variance)
    assert_close(actual.explained_variance_ratio, expected.explained_variance_ratio)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("kind", ["gram", "incremental"])
def test_without_truncation_both_are_the_decomposition_of_all_rows(kind: str, center: bool) -> None:
    x = rows(50)
    assert_same(streamed(kind, x, [20, 7, 23], 6, center), at_once(x, 6, center))


@pytest.mark.parametrize("center", [True, False])
def test_gram_is_exact_with_truncation_too_and_incremental_is_not(center: bool) -> None:
    x, expected = rows(50), at_once(rows(50), 3, center)
    assert_same(streamed("gram", x, [20, 7, 23], 3, center), expected)
    near = streamed("incremental", x, [20, 7, 23], 3, center)
    assert torch.allclose(near.singular_values, expected.singular_values, rtol=0.05)
    assert not torch.allclose(near.singular_values, expected.singular_values, rtol=1e-6)
    assert_close(near.variance, expected.variance)  # the moments of all features are exact


def test_ratios_are_shares_of_the_whole_variance() -> None:
    x = rows(40)
    found = streamed("gram", x, [40], 6)
    assert_close(found.explained_variance_ratio.sum(), torch.ones((), dtype=torch.float64))
    along = (x @ found.directions.t()).var(0, correction=1)
    assert_close(found.explained_variance, along)


@pytest.mark.parametrize("randomized", [False, True])
def test_incremental_follows_the_formula_of_peft(randomized: bool) -> None:
    peft = pytest.importorskip("peft.utils.incremental_pca")
    generator = torch.Generator().manual_seed(1) if randomized else None
    mine, theirs = IncrementalPCA(3, generator=generator), peft.IncrementalPCA(3)
    for seed, size in enumerate([9, 5, 17]):
        mine.update(rows(size, seed=seed))
        theirs.partial_fit(rows(size, seed=seed))
    found = mine.components()
    assert_close(found.directions, theirs.components_)
    assert_close(found.singular_values, theirs.singular_values_)
    assert_close(found.explained_variance, theirs.explained_variance_)
    assert_close(found.explained_variance_ratio, theirs.explained_variance_ratio_)
    assert_close(mine.mean, theirs.mean_)
    assert_close(mine.variance, theirs.var_)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.randoms())
@settings(max_examples=25, deadline=None)
def test_gram_does_not_depend_on_order_or_cuts(sizes: list[int], random) -> None:
    x = rows(sum(sizes) + 4)
    order = list(range(len(x)))
    random.shuffle(order)
    assert_same(streamed("gram", x[order], [*sizes, 4], 3), at_once(x, 3))


def test_a_large_mean_costs_gram_no_digits() -> None:
    x = rows(60, dtype=torch.float64)
    far = (x + 1000).float()
    expected = at_once(far.double(), 3)
    found = streamed("gram", far, [30, 30], 3)
    assert torch.allclose(found.singular_values, expected.singular_values, rtol=1e-5)
    assert torch.allclose(found.directions.double(), expected.directions, atol=1e-5)


@pytest.mark.parametrize("kind", ["gram", "incremental"])
def test_half_precision_rows_are_taken_in_float32(kind: str) -> None:
    x = rows(40, dtype=torch.bfloat16)
    found, expected = streamed(kind, x, [20, 20], 3), streamed(kind, x.float(), [20, 20], 3)
    assert torch.equal(found.directions, expected.directions) and found.directions.dtype != torch.bfloat16


def test_rows_that_do_not_vary_explain_nothing() -> None:
    found = streamed("gram", torch.ones(5, 4, dtype=torch.float64), [5], 2)
    assert torch.equal(found.explained_variance_ratio, torch.zeros(2, dtype=torch.float64))


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="3 components need as many rows"):
        IncrementalPCA(3).update(rows(2))
    pca = GramPCA()
    pca.update(rows(0))
    pca.update(rows(2))
    with pytest.raises(ValueError, match="3 components need as many rows"):
        pca.components(3)

# SPDX-License-Identifier: Apache-2.0
"""Numbers of spectra: known values, bounds, and the estimates that replace them for large matrices."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rankwise.errors import MethodError
from rankwise.linalg.rank_threshold import normalized_profile, ranks_at, threshold_for
from rankwise.linalg.singular_values import gram, singular_values, singular_values_of_product
from rankwise.linalg.spectral_sums import spectral_sums
from rankwise.linalg.spectrum import effective_rank, energy, participation_ratio, rank_at_energy, stable_rank

MEASURES = (effective_rank, stable_rank, participation_ratio)
SPECTRA = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=12)


@pytest.mark.parametrize("measure", MEASURES)
def test_equal_values_count_themselves(measure):
    s = torch.tensor([3.0, 3.0, 3.0, 0.0, 0.0], dtype=torch.float64)
    assert float(measure(s)) == pytest.approx(3.0, rel=1e-12)
    assert float(measure(torch.zeros(4))) == 0.0


@given(SPECTRA, st.floats(1e-150, 1e150))
def test_measures_lie_between_one_and_the_rank_and_ignore_scale(values, scale):
    s = torch.tensor(values, dtype=torch.float64)
    for measure in MEASURES:
        found = float(measure(s))
        assert 1 - 1e-9 <= found <= len(values) + 1e-9
        assert float(measure(s * scale)) == pytest.approx(found, rel=1e-6)


def test_two_values_have_the_closed_form():
    p = 1 / 3.5
    s = torch.tensor([2.5, 1.0], dtype=torch.float64)
    expected = math.exp(-p * math.log(p) - (1 - p) * math.log(1 - p))
    assert float(effective_rank(s)) == pytest.approx(expected, rel=1e-12)
    assert float(stable_rank(s)) == pytest.approx(1 + 1 / 6.25, rel=1e-12)


def test_energy_ends_at_one_and_says_the_rank():
    s = torch.tensor([[2.0, 1.0, 1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(energy(s)[0], torch.tensor([4 / 6, 5 / 6, 1.0], dtype=torch.float64))
    assert rank_at_energy(s, 0.7).tolist() == [2, 0]


@pytest.mark.parametrize("shape", [(7, 30), (30, 7), (12, 12)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_singular_values_are_those_of_a_wider_svd(shape, dtype):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    torch.testing.assert_close(singular_values(matrix), torch.linalg.svdvals(matrix.double()), rtol=1e-9, atol=1e-12)


def test_the_gram_matrix_is_summed_over_blocks(monkeypatch):
    matrix = torch.randn(50, 6, generator=torch.Generator().manual_seed(1))
    whole = gram(matrix)
    monkeypatch.setattr("rankwise.linalg.singular_values._BLOCK", 20)
    torch.testing.assert_close(gram(matrix), whole, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(gram(matrix.mT), whole, rtol=1e-13, atol=1e-13)


def test_sums_are_exact_for_squares_and_unbiased_for_roots():
    matrix = torch.randn(60, 40, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    s = torch.linalg.svdvals(matrix)
    found = torch.stack(
        [
            spectral_sums(matrix, (torch.square, lambda x: x), torch.Generator().manual_seed(seed)).mean(0)
            for seed in range(20)
        ]
    )
    torch.testing.assert_close(found[:, 0], s.square().sum().expand(20), rtol=1e-10, atol=0)
    error = found[:, 1].std() / 20**0.5
    assert float(error) < 0.005 * float(s.sum())
    assert abs(float(found[:, 1].mean() - s.sum())) < 4 * float(error)


@given(st.lists(SPECTRA, min_size=1, max_size=4), st.floats(0, 0.7))
def test_the_threshold_is_the_smallest_that_reaches_the_reduction(values, reduction):
    spectra = [torch.tensor(sorted(one, reverse=True), dtype=torch.float64) for one in values]
    total = sum(map(len, spectra))
    if math.ceil(reduction * total) > total - len(spectra):
        with pytest.raises(MethodError, match="at most"):
            threshold_for(spectra, reduction)
        return
    theta = threshold_for(spectra, reduction)
    assert total - sum(ranks_at(spectra, theta)) >= reduction * total
    smaller = math.nextafter(theta, -math.inf)
    if theta > 0 and smaller < 1:
        assert total - sum(ranks_at(spectra, smaller)) < max(reduction * total, 1)


def test_ranks_ignore_scale_and_one_large_value_hides_the_others():
    s = torch.linspace(1, 0.1, 10, dtype=torch.float64)
    assert ranks_at([s], 0.5) == ranks_at([100 * s], 0.5) == [5]
    spiked = s.clone()
    spiked[0] = 100
    assert ranks_at([spiked], 0.05) == [1]
    assert normalized_profile(torch.ones(3)).tolist() == [1, 1, 1]
    with pytest.raises(MethodError, match="at least 0 and below 1"):
        threshold_for([s], 1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(9, 3, 7), (5, 7, 6), (4, 4, 4), (1, 2, 8), (6, 1, 3)])
def test_values_of_a_product_are_those_of_the_product(shape, dtype):
    generator = torch.Generator().manual_seed(0)
    out, k, columns = shape
    left = torch.randn(out, k, generator=generator).to(dtype)
    right = torch.randn(k, columns, generator=generator).to(dtype)
    found = singular_values_of_product(left, right)
    expected = torch.linalg.svdvals(left.double() @ right.double())
    assert found.shape == (min(shape),) and found.dtype == torch.float64
    accuracy = 1e-14 if dtype == torch.float64 else 1e-7
    torch.testing.assert_close(found, expected[: len(found)], rtol=0, atol=accuracy * float(expected[0]))


def test_values_of_a_product_in_float64_keep_the_small_ones():
    factor = torch.tensor([[1.0, 0.0], [0.0, 1e-12], [0.0, 0.0]], dtype=torch.float64)
    found = singular_values_of_product(factor, factor.mT)
    torch.testing.assert_close(found, torch.tensor([1.0, 1e-24], dtype=torch.float64), rtol=1e-12, atol=0)

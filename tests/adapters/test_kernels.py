# SPDX-License-Identifier: Apache-2.0
"""Kernels, sparsifiers and their derivatives, against formulas written out entry by entry."""

import itertools
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dense_kernels import KERNELS, SPARSIFIERS, points
from random_layers import draw
from rankwise.adapters.kernelized import generated
from rankwise.adapters.kernels import Points, Rule
from rankwise.testing import assert_close


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.sampled_from(KERNELS))
def test_the_kernel_is_its_formula_for_every_pair(inputs: int, outputs: int, size: int, kernel: str) -> None:
    one = points(inputs, outputs, mixed=kernel == "mixed", size=size)
    found = generated(Rule(kernel, "none", (0.1, -0.1)), one)
    expected = torch.zeros(inputs, outputs, dtype=torch.float64)
    for i, o, h in itertools.product(range(inputs), range(outputs), range(2)):
        p, q = one.p[h, i], one.q[h, o]
        value = sum(x * y for x, y in zip(p, q, strict=True)) if kernel == "linear" else torch.dist(p, q)
        expected[i, o] += 0.1 * (-1) ** h * value
    if kernel == "mixed":
        for i in range(inputs):
            weights = torch.stack([(value / 1.3).exp() for value in expected[i]])
            expected[i] = expected[i] + 0.7 * weights / weights.sum() - 0.2
    assert_close(found, expected)


def test_the_worked_example_of_the_kernel() -> None:
    p, q = torch.tensor([[[0.0], [3.0]], [[0.0], [0.0]]]), torch.tensor([[[1.0]], [[-1.0]]])
    assert_close(
        generated(Rule("piecewise", "none", (0.1, -0.1)), Points(p, q, None, 1)).flatten(), torch.tensor([0, 0.1])
    )


def test_distances_know_no_origin_and_no_axes() -> None:
    rule, one = Rule("piecewise", "none", (0.1, -0.1)), points(7, 5)
    values, shift = generated(rule, one), draw(2, 1, 3, seed=5)
    turn = torch.linalg.qr(draw(3, 3, seed=6)).Q
    assert_close(generated(rule, one._replace(p=one.p + shift, q=one.q + shift)), values)
    assert_close(generated(rule, one._replace(p=one.p @ turn, q=one.q @ turn)), values)
    assert_close(generated(rule, one._replace(p=one.p.flip(0), q=one.q.flip(0))), -values)


EXAMPLE = torch.tensor([[-3.0, 1.0, 2.0, 0.5]])


@pytest.mark.parametrize(
    ("sparsifier", "kept", "slope"),
    [
        ("code", [-9.0, 0.0, 4.0, 0.0], [3.0, 0.0, 2.0, 0.0]),
        ("paper", [-6.0, 0.0, 2.0, 0.0], [5.0, 0.0, 3.0, 0.0]),
        ("hard", [-3.0, 0.0, 2.0, 0.0], [1.0, 0.0, 1.0, 0.0]),
        ("none", [-3.0, 1.0, 2.0, 0.5], [1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_the_worked_example_of_the_sparsifier(sparsifier: str, kept: list[float], slope: list[float]) -> None:
    rule, values = Rule("piecewise", sparsifier, (1.0,)), EXAMPLE.clone().requires_grad_()
    threshold = rule.threshold(values, rule.order(0.5, 4))
    assert float(threshold) == 1.0
    output = rule.kept(values, threshold)
    assert torch.equal(output, torch.tensor([kept]))
    (gradient,) = torch.autograd.grad(output.sum(), values)
    assert torch.equal(gradient, torch.tensor([slope]))
    assert torch.equal(rule.slope(EXAMPLE, threshold), torch.tensor([slope]))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 60), st.integers(0, 100), st.sampled_from(["code", "paper", "hard"]), st.integers(0, 99))
def test_as_many_entries_are_left_as_the_sparsity_says(entries: int, percent: int, sparsifier: str, seed: int) -> None:
    values, share = draw(1, entries, seed=seed), Fraction(percent, 100)
    rule = Rule("piecewise", sparsifier, (1.0,))
    left = int((rule.kept(values, rule.threshold(values, rule.order(percent / 100, entries))) != 0).sum())
    if sparsifier == "paper":
        assert left == entries - max(1, math.ceil(share * entries))
    elif (share * (entries - 1)).denominator > 1:
        assert left == entries - math.ceil(share * (entries - 1))
        quantile = torch.quantile(values.abs().flatten(), percent / 100)
        assert left == int((values.abs() > quantile).sum())
    else:  # the quantile is an entry itself, which is not above itself
        assert left == entries - share * (entries - 1) - 1


def test_every_way_to_select_the_threshold_finds_the_same_one() -> None:
    rule, values = Rule("piecewise", "code", (1.0,)), draw(3, 5, 7)
    for place in (1, 17, 35):
        expected = values.abs().flatten(1).sort(dim=1).values[:, place - 1, None, None]
        assert torch.equal(rule.threshold(values, place), expected)
        assert torch.equal(rule.threshold(values, torch.tensor([place] * 3)), expected)
        assert torch.equal(rule.threshold(values[:1], torch.tensor([place])), expected[:1])
        assert torch.equal(rule.threshold(values[0], torch.tensor(place)), expected[0])
        assert torch.equal(torch.vmap(lambda one, k=place: rule.threshold(one, k))(values), expected)


def test_ties_at_the_threshold_all_go() -> None:
    rule, values = Rule("piecewise", "code", (1.0,)), torch.tensor([[2.0, -1.0, 1.0, 1.0, -2.0]])
    assert torch.equal(rule.kept(values, rule.threshold(values, 2)), torch.tensor([[4.0, 0.0, 0.0, 0.0, -4.0]]))
    assert not rule.kept(values, rule.threshold(values, rule.order(1.0, 5))).any()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("sparsifier", ["hard", "none"])
def test_gradients_equal_finite_differences(kernel: str, sparsifier: str) -> None:
    rule, one = Rule(kernel, sparsifier, (0.5, -0.5)), points(4, 3, 5, mixed=kernel == "mixed", size=2)
    inputs = [tensor.requires_grad_() for tensor in one[:3] if tensor is not None]

    def run(p: Tensor, q: Tensor, mix: Tensor | None = None) -> Tensor:
        return generated(rule, Points(p, q, mix, 5))

    torch.autograd.gradcheck(run, inputs, fast_mode=True)


@pytest.mark.parametrize("slope", ["code", "paper"])
def test_a_stopped_magnitude_or_threshold_is_a_constant(slope: str) -> None:
    """Finite differences of the sparsifier with what counts as constant held fixed."""
    rule, values = Rule("piecewise", slope, (1.0,)), draw(4, 5)
    threshold = rule.threshold(values, 8)
    sizes, mask = values.abs(), values.abs() > threshold

    def frozen(moved: Tensor) -> Tensor:
        return moved * mask * (sizes if slope == "code" else moved.abs() - threshold)

    step = 1e-6
    expected = (frozen(values + step) - frozen(values - step)) / (2 * step)
    torch.testing.assert_close(rule.slope(values, threshold), expected, rtol=1e-7, atol=1e-8)  # central differences


@pytest.mark.parametrize("sparsifier", SPARSIFIERS)
def test_what_is_not_a_number_stays_so(sparsifier: str) -> None:
    values = torch.tensor([[1.0, torch.nan, -3.0, 0.5]])
    kept = Rule("piecewise", sparsifier, (1.0,)).kept(values, torch.tensor([[0.7]]))
    assert kept.isnan().tolist() == [[False, True, False, False]]

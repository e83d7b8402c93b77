# SPDX-License-Identifier: Apache-2.0
"""Rescaled outputs: the formula, its exact limit, its derivatives, and what it costs in memory."""

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from rankwise.core.rescaled import rescale
from rankwise.testing import assert_close

# An output and the shape of a vector over its features: tokens, batches of tokens, maps of a convolution.
SHAPES = [((3, 2), (2,)), ((2, 1, 3), (1, 1, 3)), ((2, 2, 1, 2), (1, 2, 1, 1))]


def draw(*shape: int, seed: int = 0, grad: bool = True) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_(grad)


def formula(output: Tensor, change: Tensor, bias: Tensor | None = None) -> Tensor:
    return (1 + change) * (output - (0 if bias is None else bias)) + (0 if bias is None else bias)


def cases(shape: tuple[int, ...], features: tuple[int, ...]) -> list[tuple[Tensor, ...]]:
    output, change, bias = draw(*shape), draw(*features, seed=1), draw(*features, seed=2)
    return [
        (output, change, bias),
        (output, change, bias.detach()),
        (output, change),
        (output.detach(), change, bias),
        (output, change.detach(), bias),
    ]


@pytest.mark.parametrize(("shape", "features"), SHAPES)
def test_formula_and_derivatives(shape, features):
    for inputs in cases(shape, features):
        assert_close(rescale(*inputs), formula(*inputs))
        assert torch.autograd.gradcheck(rescale, inputs)
        assert torch.autograd.gradgradcheck(rescale, inputs)


@pytest.mark.parametrize(("shape", "features"), SHAPES)
def test_gradients_of_a_plain_backward_pass(shape, features):
    for inputs in cases(shape, features):
        found = []
        for function in (rescale, formula):
            copies = [tensor.detach().clone().requires_grad_(tensor.requires_grad) for tensor in inputs]
            (torch.sin(function(*copies)).sum()).backward()
            found.append([tensor.grad for tensor in copies])
        for mine, other in zip(*found, strict=True):
            assert (mine is None) == (other is None)
            if mine is not None:
                assert_close(mine, other)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]), st.integers(0, 1000))
def test_no_change_gives_the_output_to_the_last_bit(dtype, seed):
    output, bias = draw(4, 5, seed=seed).detach().to(dtype), draw(5, seed=seed + 1).detach().to(dtype)
    assert torch.equal(rescale(output, torch.zeros(5), bias), output)


def test_a_change_keeps_its_digits_in_half_precision():
    output = draw(20_000, 1, grad=False).to(torch.bfloat16)
    change = 0.003  # 1 + change rounds to 1 in bfloat16
    moved = rescale(output, torch.full((1,), change)).double() - output.double()
    gain = (moved * output.double()).sum() / output.double().square().sum()
    assert gain == pytest.approx(change, rel=0.25)


def test_the_change_may_be_wider_than_the_output():
    output, change = draw(4, 5, grad=False).bfloat16(), draw(5, seed=1).float().detach().requires_grad_()
    scaled = rescale(output, change)
    scaled.float().sum().backward()
    assert scaled.dtype == torch.bfloat16
    assert change.grad.dtype == torch.float32
    assert_close(change.grad, output.float().sum(0), torch.bfloat16)


def test_compiled_and_transformed():
    inputs = draw(4, 3, 5), draw(5, seed=1), draw(5, seed=2)
    step = inspect.unwrap(rescale)  # the run-time type checks of the test suite cannot be traced
    assert_close(torch.compile(step, fullgraph=True, backend="eager")(*inputs), formula(*inputs))
    plain = [tensor.detach() for tensor in inputs]
    assert_close(torch.func.vmap(rescale, (0, None, None))(*plain), formula(*plain))
    actual = torch.func.grad(lambda *args: rescale(*args).square().sum(), argnums=(0, 1))(*plain)
    expected = torch.func.grad(lambda *args: formula(*args).square().sum(), argnums=(0, 1))(*plain)
    for mine, other in zip(actual, expected, strict=True):
        assert_close(mine, other)


def test_the_result_may_be_overwritten_before_backward():
    output, change = draw(4, 5), draw(5, seed=1)
    F.relu(rescale(output, change), inplace=True).sum().backward()
    expected, same = draw(4, 5), draw(5, seed=1)
    F.relu(formula(expected, same)).sum().backward()
    assert_close(change.grad, same.grad)
    assert_close(output.grad, expected.grad)


def test_what_is_kept_for_backward():
    output, change, bias = draw(16, 5), draw(5, seed=1), draw(5, seed=2, grad=False)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda t: t):
        rescale(output, change, bias)
    assert sorted(kept) == [5, 5, 16 * 5]

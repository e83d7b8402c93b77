# SPDX-License-Identifier: Apache-2.0
"""The fused low-rank step: the plain formula and its gradients, in every mode that autograd and torch.compile have."""

import inspect

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from rankwise.core.lowrank import Product, add_low_rank, folded, without_autocast
from rankwise.testing import assert_close

OUT, IN, K = 5, 7, 2
SHAPES = [(IN,), (3, IN), (2, 3, IN), (2, 1, 3, IN), (0, IN)]


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64, grad: bool = False) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values.to(dtype).requires_grad_(grad)


def factors(dtype: torch.dtype = torch.float64, grad: bool = True) -> tuple[Tensor, Tensor]:
    return draw(OUT, K, seed=1, dtype=dtype, grad=grad), draw(K, IN, seed=2, dtype=dtype, grad=grad)


WEIGHT = draw(OUT, IN, seed=3)


def fused(x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """A frozen layer with the product on it, accumulated in place."""
    return add_low_rank(F.linear(x, WEIGHT.to(x.dtype)), x, Product(left, right), inplace=True)


def fused_with_layer(x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """The same, with the frozen layer's part of the gradient by x taken in the same step."""
    weight = WEIGHT.to(x.dtype)
    return add_low_rank(F.linear(x, weight), x, Product(left, right), inplace=True, weight=weight)


def dense(x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """The same by the dense weight."""
    return x @ (WEIGHT.to(x.dtype) + left @ right).mT


def gradients(function, *inputs: Tensor) -> list[Tensor | None]:
    """Gradients of a sum that weighs all outputs differently."""
    inputs = [tensor.detach().requires_grad_(tensor.requires_grad) for tensor in inputs]
    output = function(*inputs)
    (output * torch.linspace(-1, 2, output.numel(), dtype=output.dtype).reshape(output.shape)).sum().backward()
    return [tensor.grad for tensor in inputs]


def agree(actual, expected) -> None:
    for one, other in zip(actual, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert one.shape == other.shape
            assert_close(one, other)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("inplace", [True, False])
def test_equals_the_dense_weight_with_its_gradients(shape, inplace):
    def function(x, left, right):
        return add_low_rank(F.linear(x, WEIGHT), x, Product(left, right), inplace=inplace)

    inputs = draw(*shape, grad=True), *factors()
    assert_close(function(*inputs), dense(*inputs))
    agree(gradients(function, *inputs), gradients(dense, *inputs))


@pytest.mark.parametrize("inplace", [True, False])
def test_a_scale_kept_apart_is_the_scale_of_a_factor(inplace):
    def apart(x, left, right):
        return add_low_rank(F.linear(x, WEIGHT), x, Product(left, right, -1.7), inplace=inplace)

    def scaled(x, left, right):
        return dense(x, *folded(Product(left, right, -1.7)))

    inputs = draw(2, 3, IN, grad=True), *factors()
    assert_close(apart(*inputs), scaled(*inputs))
    agree(gradients(apart, *inputs), gradients(scaled, *inputs))
    assert torch.autograd.gradcheck(apart, inputs)
    assert torch.autograd.gradgradcheck(apart, inputs)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 4), max_size=3), st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.booleans())
def test_any_sizes_and_a_shared_input(lead, out, inside, k, shared):
    x, base = draw(*lead, inside, grad=True), draw(*lead, out, seed=1, grad=True)
    left, right = draw(out, k, seed=2, grad=True), draw(k, inside, seed=3, grad=True)

    def function(base, x, left, right):
        scaled = base * 2  # so that the tensor to overwrite is no leaf
        output = add_low_rank(scaled, x, Product(left, right), inplace=True)
        return output.sum() + x.square().sum() if shared else output

    def plain(base, x, left, right):
        output = 2 * base + x @ (left @ right).mT
        return output.sum() + x.square().sum() if shared else output

    agree(gradients(function, base, x, left, right), gradients(plain, base, x, left, right))


@pytest.mark.parametrize("shape", [(IN,), (3, IN), (2, 2, IN)])
@pytest.mark.parametrize("function", [fused, fused_with_layer])
def test_first_and_second_derivatives_by_differences(shape, function):
    inputs = draw(*shape, grad=True), *factors()
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_the_base_has_its_own_derivatives():
    def function(base, x, left, right):
        return add_low_rank(base * base, x, Product(left, right), inplace=True)

    inputs = draw(3, OUT, seed=4, grad=True), draw(3, IN, grad=True), *factors()
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize(
    "needed", [(True, False, False), (False, True, False), (False, False, True), (False, True, True)]
)
@pytest.mark.parametrize("function", [fused, fused_with_layer])
def test_only_the_gradients_that_are_wanted(needed, function):
    inputs = [t.detach().requires_grad_(n) for t, n in zip((draw(3, IN), *factors()), needed, strict=True)]
    actual = gradients(function, *inputs)
    assert [gradient is not None for gradient in actual] == list(needed)
    agree(actual, gradients(dense, *inputs))


def test_overwrites_the_base_only_if_allowed():
    x, (left, right) = draw(3, IN), factors(grad=False)
    base = F.linear(x, WEIGHT)
    kept = base.clone()
    apart = add_low_rank(base, x, Product(left, right))
    assert torch.equal(base, kept)
    written = add_low_rank(base, x, Product(left, right), inplace=True)
    assert written.data_ptr() == base.data_ptr()
    assert_close(written, apart)


def test_a_base_that_a_user_trains_is_never_overwritten():
    x, (left, right), base = draw(3, IN), factors(), draw(3, OUT, seed=4, grad=True)
    kept = base.detach().clone()
    add_low_rank(base, x, Product(left, right), inplace=True).sum().backward()
    assert torch.equal(base.detach(), kept)
    assert_close(base.grad, torch.ones_like(kept))


@pytest.mark.parametrize("needs_input", [True, False])
def test_a_view_that_a_custom_function_gave_back(needs_input):
    class Viewed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return F.linear(x, WEIGHT).view(x.shape[0], OUT)

        @staticmethod
        def backward(ctx, grad):
            return grad @ WEIGHT

    def function(x, left, right):
        return add_low_rank(Viewed.apply(x), x, Product(left, right), inplace=True)

    inputs = draw(3, IN, grad=needs_input), *factors()
    agree(gradients(function, *inputs), gradients(dense, *inputs))


def test_the_layers_own_graph_is_dropped_with_its_memory():
    inputs = draw(2, 3, IN, grad=True), *factors()
    assert fused(*inputs).grad_fn.next_functions[0][0] is not None
    assert fused_with_layer(*inputs).grad_fn.next_functions[0][0] is None
    agree(gradients(fused_with_layer, *inputs), gradients(dense, *inputs))


def test_inputs_and_bases_that_are_not_contiguous():
    whole = draw(IN, 2, 3, grad=True)

    def function(whole, left, right, product=fused):
        return product(whole.permute(1, 2, 0), left, right)

    inputs = whole, *factors()
    agree(gradients(function, *inputs), gradients(lambda *args: function(*args, product=dense), *inputs))
    base = draw(OUT, 3, seed=4).t()
    x, (left, right) = draw(3, IN), factors()
    assert_close(add_low_rank(base * 1, x, Product(left, right), inplace=True), base + x @ (left @ right).mT)
    assert_close(add_low_rank(base, x, Product(left, right), inplace=True), base + x @ (left @ right).mT)


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
def test_computes_in_the_dtype_of_the_base_and_gives_gradients_in_that_of_the_factors(low):
    x = draw(6, IN, dtype=low)
    left, right = factors(torch.float32)
    output = add_low_rank(F.linear(x, WEIGHT.to(low)), x, Product(left, right), inplace=True)
    assert output.dtype == low
    output.float().sum().backward()
    assert left.grad.dtype == right.grad.dtype == torch.float32
    assert_close(left.grad, (torch.ones(OUT, 6) @ x.float() @ right.detach().mT), low)


@pytest.mark.parametrize("fused", [fused, fused_with_layer])
def test_under_autocast(fused):
    x = draw(6, IN, dtype=torch.float32, grad=True)
    inputs = x, *factors(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = fused(*inputs)
        output.float().square().sum().backward()
    assert output.dtype == torch.bfloat16
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    dense(*exact).square().sum().backward()
    for mine, other in zip(inputs, exact, strict=True):
        assert mine.grad.dtype == torch.float32
        error = torch.linalg.vector_norm(mine.grad - other.grad) / torch.linalg.vector_norm(other.grad)
        assert error < 4 * torch.finfo(torch.bfloat16).eps


def test_autocast_is_left_only_where_it_is_on():
    with without_autocast(torch.zeros(1)):
        assert not torch.is_autocast_enabled("cpu")
    with torch.autocast("cpu", dtype=torch.bfloat16), without_autocast(torch.zeros(1)):
        assert (torch.zeros(1, 1) @ torch.zeros(1, 1)).dtype == torch.float32


def test_compiled():
    step = inspect.unwrap(add_low_rank)  # the run-time type checks of the test suite cannot be traced

    def layer(x, left, right):
        return step(F.linear(x, WEIGHT), x, Product(left, right, 1.0), inplace=True)

    inputs = draw(2, 3, IN, grad=True), *factors()
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    assert_close(compiled(*inputs), dense(*inputs))
    agree(gradients(compiled, *inputs), gradients(dense, *inputs))


def test_functorch_transforms():
    x, (left, right) = draw(4, 3, IN), factors(grad=False)
    assert_close(torch.func.vmap(fused, (0, None, None))(x, left, right), dense(x, left, right))
    actual = torch.func.grad(lambda *args: fused(*args).square().sum(), argnums=(0, 1, 2))(x, left, right)
    agree(actual, torch.func.grad(lambda *args: dense(*args).square().sum(), argnums=(0, 1, 2))(x, left, right))


@pytest.mark.parametrize("use_reentrant", [True, False])
@pytest.mark.parametrize("fused", [fused, fused_with_layer])
def test_activation_checkpointing(use_reentrant, fused):
    def function(x, left, right):
        return checkpoint(lambda *args: torch.tanh(fused(*args)), x, left, right, use_reentrant=use_reentrant)

    inputs = draw(3, IN, grad=True), *factors()
    agree(gradients(function, *inputs), gradients(lambda *args: torch.tanh(dense(*args)), *inputs))


def test_a_tensor_subclass_takes_the_plain_formula():
    class Tagged(Tensor):
        pass

    x, (left, right) = draw(3, IN).as_subclass(Tagged), factors(grad=False)
    output = fused(x, left, right)
    assert type(output) is Tagged
    assert_close(output.as_subclass(Tensor), dense(x.as_subclass(Tensor), left, right))


def test_what_is_kept_for_backward():
    tokens, out, inside, k = 64, 48, 32, 2
    x, left, right = (
        draw(tokens, inside, grad=True),
        draw(out, k, seed=1, grad=True),
        draw(k, inside, seed=2, grad=True),
    )
    base = F.linear(x, draw(out, inside, seed=3))
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda t: t):
        add_low_rank(base, x, Product(left, right), inplace=True)
    assert sorted(kept) == sorted([tokens * inside, tokens * k, out * k, k * inside])

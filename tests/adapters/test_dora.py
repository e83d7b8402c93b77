# SPDX-License-Identifier: Apache-2.0
"""DoRA: the formula, the factored norm, both gradients, what the bias keeps, and merging."""

import importlib.util
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from random_layers import draw, filled, moved
from rankwise import Adaptation, LoRA, MethodError, adapt
from rankwise.adapters.dora import DoRA, DoRAAdapter
from rankwise.testing import assert_close

EXACT = DoRA(rank=2, alpha=3.0, detach_norm=False)


def on(layer: nn.Module, method: DoRA = EXACT) -> tuple[nn.Module, Adaptation, DoRAAdapter]:
    """A filled layer with the method on it, away from the start."""
    adaptation = moved(adapt(filled(layer), method, ["weight"]))
    return layer, adaptation, adaptation.adapters["weight"]


def dense_weight(adapter: DoRAAdapter, norm: Tensor | None = None) -> Tensor:
    """M V / ||V|| row by row, written out with the dense V."""
    base = adapter.target.matrix()
    direction = base + adapter.scaling * adapter.left @ adapter.right
    norm = direction.norm(dim=-1) if norm is None else norm
    return adapter.magnitude[..., None] * direction / norm[..., None]


LAYERS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "linear": (lambda: nn.Linear(7, 5), draw(2, 3, 7)),
    "linear-no-bias": (lambda: nn.Linear(7, 5, bias=False), draw(3, 7)),
    "conv": (lambda: nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=1, padding_mode="reflect"), draw(2, 4, 6, 5)),
    "conv-grouped": (lambda: nn.Conv1d(6, 4, 3, groups=2, dilation=2), draw(2, 6, 9)),
    "conv-transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, output_padding=1), draw(2, 4, 4, 3)),
    "embedding": (lambda: nn.Embedding(9, 4), torch.tensor([[0, 3, 8], [3, 1, 5]])),
    "experts": (lambda: nn.Bilinear(3, 4, 2), draw(5, 3)),
}


def run(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x, draw(5, 4, seed=1, dtype=x.dtype)) if isinstance(layer, nn.Bilinear) else layer(x)


def test_worked_example():
    layer = nn.Linear(2, 1, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, 4.0]]))
    adapter = adapt(layer, DoRA(rank=1, alpha=1.0), ["weight"]).adapters["weight"]
    assert adapter.magnitude.item() == 5
    with torch.no_grad():
        adapter.left.fill_(1)
        adapter.right.copy_(torch.tensor([[0.0, -4.0]]))
    x = torch.eye(2, dtype=torch.float64)
    assert_close(layer(x).flatten(), torch.tensor([5.0, 0.0], dtype=torch.float64))
    layer(x).sum().backward()  # the gradient by the effective weight is (1, 1)
    assert adapter.magnitude.grad.item() == pytest.approx(1)
    assert_close(adapter.right.grad, torch.full((1, 2), 5 / 3, dtype=torch.float64))  # the norm is a constant


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_starts_at_the_base_to_the_bit(name, dtype):
    build, x = LAYERS[name]
    x = x.to(dtype) if x.is_floating_point() else x
    layer = filled(build()).to(dtype)
    expected = run(layer, x).detach()
    adaptation = adapt(layer, DoRA(rank=2), ["weight"])
    assert torch.equal(run(layer, x), expected)
    assert not adaptation.adapters["weight"].delta().any()


@settings(max_examples=40, deadline=None)
@given(st.floats(1e-12, 1e12), st.integers(0, 10_000), st.sampled_from([torch.float32, torch.bfloat16]))
def test_the_start_is_exact_whatever_the_size_of_the_weights(size, seed, dtype):
    """The square root of a rounded square is the number itself, so the factored norm is exactly the stored one."""
    layer = nn.Linear(5, 3)
    with torch.no_grad():
        layer.weight.copy_(size * draw(3, 5, seed=seed))
    adapter = adapt(layer, DoRA(rank=2), ["weight"], dtype=dtype).adapters["weight"]
    assert not adapter._change(adapter.left, adapter.right).any()


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("method", [EXACT, DoRA(rank=2, alpha=3.0)], ids=["exact", "detached"])
def test_the_layer_applies_the_formula(name, method):
    build, x = LAYERS[name]
    layer, adaptation, adapter = on(build(), method)
    weight = dense_weight(adapter)
    assert_close(adapter.target.matrix() + adapter.delta().reshape(weight.shape), weight)
    assert_close(weight.norm(dim=-1), adapter.magnitude.abs())
    output = run(layer, x)
    with adaptation.disabled(), torch.no_grad():
        plain = run(layer, x)
        layer._parameters["weight"].copy_(adapter.target.to_storage(weight.reshape(adapter.target.shape)))
        expected = run(layer, x)
    assert_close(output, expected)
    assert (expected - plain).abs().max() > 0.1


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.data())
def test_the_norm_from_the_factors_is_that_of_the_dense_matrix(out, inside, data):
    rank = data.draw(st.integers(1, min(out, inside)))
    _, _, adapter = on(nn.Linear(inside, out), DoRA(rank=rank, alpha=data.draw(st.floats(0.1, 30))))
    left = adapter.scaling * adapter.left
    direction = adapter.target.matrix() + left @ adapter.right
    assert_close(adapter._norm(left, adapter.right), direction.norm(dim=-1))


@pytest.mark.parametrize("name", ["linear", "conv", "conv-transposed", "embedding", "experts"])
def test_the_exact_gradient_equals_finite_differences(name):
    build, x = LAYERS[name]
    layer, adaptation, _ = on(build())
    parameters = list(adaptation.parameters())
    assert torch.autograd.gradcheck(lambda *_: run(layer, x), parameters, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda *_: run(layer, x), parameters, fast_mode=True)


@pytest.mark.parametrize("name", LAYERS)
def test_the_detached_gradient_takes_the_norm_as_a_constant(name):
    build, x = LAYERS[name]
    layer, adaptation, adapter = on(build(), DoRA(rank=2, alpha=3.0))
    x = x.requires_grad_() if x.is_floating_point() else x
    inputs = [*adaptation.parameters(), *([x] if x.requires_grad else [])]
    weights = torch.linspace(-1, 2, run(layer, x).numel(), dtype=torch.float64)
    actual = torch.autograd.grad((run(layer, x).flatten() * weights).sum(), inputs)
    norm = (adapter.target.matrix() + adapter.scaling * adapter.left @ adapter.right).detach().norm(dim=-1)
    stored = adapter.target.to_storage(dense_weight(adapter, norm).reshape(adapter.target.shape))
    arguments = (x, draw(5, 4, seed=1)) if name == "experts" else (x,)
    with adaptation.disabled():
        output = torch.func.functional_call(layer, {"weight": stored}, arguments)
    expected = torch.autograd.grad((output.flatten() * weights).sum(), inputs)
    for mine, other in zip(actual, expected, strict=True):
        assert_close(mine, other)
    x.requires_grad_(False)


def test_the_two_gradients_differ():
    x = draw(3, 7)
    found = []
    for method in (EXACT, DoRA(rank=2, alpha=3.0)):
        layer, _, adapter = on(nn.Linear(7, 5), method)
        layer(x).square().sum().backward()
        found.append((adapter.left.grad, adapter.magnitude.grad))
    assert (found[0][0] - found[1][0]).abs().max() > 0.1
    assert_close(found[0][1], found[1][1])


@pytest.mark.parametrize("name", ["linear", "conv", "conv-grouped", "conv-transposed"])
def test_the_bias_is_not_scaled(name):
    build, x = LAYERS[name]
    layer, _, adapter = on(build())
    bias = adapter.target.by_channel(layer.bias, x)
    first = layer(x)
    with torch.no_grad():
        adapter.magnitude.mul_(3)
    assert_close(layer(x) - bias, 3 * (first - bias))


def test_a_bias_that_a_user_trains_keeps_its_own_gradient():
    layer, _, _ = on(nn.Linear(7, 5))
    layer.bias.requires_grad_(True)
    layer(draw(4, 7)).sum().backward()
    assert_close(layer.bias.grad, torch.full((5,), 4.0, dtype=torch.float64))


def test_a_magnitude_at_the_norm_leaves_plain_lora():
    layer, _, adapter = on(nn.Linear(7, 5))
    with torch.no_grad():
        adapter.magnitude.copy_(adapter._norm(adapter.scaling * adapter.left, adapter.right))
    x = draw(4, 7)
    product = adapter.scaling * adapter.left @ adapter.right
    assert_close(layer(x), F.linear(x, layer.weight + product, layer.bias))


def test_rows_of_zeros_stay_zero_and_finite():
    layer = filled(nn.Linear(7, 5))
    with torch.no_grad():
        layer.weight[1] = 0
    adaptation = adapt(layer, EXACT, ["weight"])
    x = draw(4, 7)
    layer(x).square().sum().backward()
    for parameter in adaptation.parameters():
        assert parameter.grad.isfinite().all()
    assert_close(layer(x)[:, 1], layer.bias[1].expand(4))


def test_padding_vectors_of_an_embedding_stay_as_they_are():
    layer, adaptation, _ = on(nn.Embedding(9, 4, padding_idx=3))
    indices = torch.tensor([[0, 3, 8]])
    before = layer(indices)
    assert torch.equal(before[0, 1], layer.weight[3])
    adaptation.merge()
    assert_close(layer(indices), before)


def test_dropout_acts_on_the_input_of_the_product_alone():
    layer, adaptation, adapter = on(nn.Linear(7, 5), DoRA(rank=2, dropout=0.5))
    x = draw(64, 7)
    gain = adapter.magnitude / (adapter.target.matrix() + adapter.scaling * adapter.left @ adapter.right).norm(dim=-1)
    torch.manual_seed(0)
    dropped = layer.train()(x)
    torch.manual_seed(0)
    branch = F.dropout(x, 0.5) @ (adapter.scaling * adapter.left @ adapter.right).mT
    assert_close(dropped, gain * (x @ layer.weight.mT + branch) + layer.bias)
    evaluated = layer.eval()(x)
    with adaptation.disabled():
        base = layer(x)
    assert_close(evaluated, base + x @ adapter.delta().mT)


@pytest.mark.parametrize("name", LAYERS)
def test_merging_equals_running_and_unmerging_restores_the_bits(name):
    build, x = LAYERS[name]
    layer, adaptation, _ = on(build())
    kept, before = layer._parameters["weight"].detach().clone(), run(layer, x)
    report = adaptation.merge()
    assert report.worst < 1e-12
    assert_close(run(layer, x), before)
    adaptation.unmerge()
    assert torch.equal(layer._parameters["weight"], kept)


@pytest.mark.parametrize("name", ["linear", "conv", "conv-transposed", "embedding"])
def test_beside_another_adapter_active_or_merged(name):
    build, x = LAYERS[name]
    layer, adaptation, adapter = on(build())
    other = moved(adapt(layer, LoRA(rank=2), ["weight"], name="other"))
    with adaptation.disabled(), other.disabled():
        base = layer(x)
    deltas = adapter.delta(), other.adapters["weight"].delta()
    expected = base + sum(adapter.target.apply(x, delta, base) for delta in deltas)
    assert_close(layer(x), expected)
    other.merge()
    assert_close(layer(x), expected)
    other.unmerge()
    adaptation.merge()
    assert_close(layer(x), expected)


def test_half_of_an_adapter_is_half_its_delta():
    layer, adaptation, adapter = on(nn.Linear(7, 5))
    adaptation.scale = 0.5
    x = draw(4, 7)
    assert_close(layer(x), F.linear(x, layer.weight + 0.5 * adapter.delta(), layer.bias))


def test_conversion_to_lora_states_the_error_of_the_dense_delta():
    _, adaptation, adapter = on(nn.Conv2d(4, 6, 3))
    delta = adapter.delta().detach().reshape(6, 36)
    converted = adaptation.convert(LoRA(rank=3))
    s = torch.linalg.svdvals(delta)
    assert converted.relative_error["weight"] == pytest.approx(float(s[3:].norm() / s.norm()), rel=1e-9)
    rest = converted.adaptation.adapters["weight"].delta().reshape(6, 36) - delta
    assert float((rest.norm() / delta.norm()).detach()) == pytest.approx(converted.relative_error["weight"], rel=1e-9)


def test_conversion_from_lora_is_exact():
    layer = filled(nn.Linear(7, 5))
    adaptation = moved(adapt(layer, LoRA(rank=2), ["weight"]))
    x = draw(4, 7)
    expected = layer(x)
    assert adaptation.convert(DoRA(rank=2)).relative_error["weight"] < 1e-12
    assert_close(layer(x), expected)


def test_reaches_what_a_plain_product_of_its_rank_cannot():
    """The goal rescales every row, which is a change of full rank, and adds one direction."""
    x, rows = draw(64, 8), torch.linspace(0.5, 2, 6, dtype=torch.float64)[:, None]
    goal = x @ (rows * filled(nn.Linear(8, 6)).weight.detach() + draw(6, 1) @ draw(1, 8, seed=1)).mT

    def reached(method: DoRA | LoRA) -> float:
        layer = filled(nn.Linear(8, 6, bias=False))
        adaptation = adapt(layer, method, ["weight"])
        optimizer = torch.optim.Adam(adaptation.parameters(), lr=0.1)
        for _ in range(120):
            optimizer.zero_grad()
            loss = (layer(x) - goal).square().mean()
            loss.backward()
            optimizer.step()
        return loss.item()

    assert reached(DoRA(rank=1, alpha=1.0)) < 0.01 * reached(LoRA(rank=1, alpha=1.0))


class _Largest(TorchDispatchMode):
    """Remembers the shapes of all tensors that are made."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if isinstance(output, Tensor) and not func.is_view:
            self.shapes.add(tuple(output.shape))
        return output


@pytest.mark.parametrize("method", [EXACT, DoRA(rank=2)], ids=["exact", "detached"])
def test_no_dense_matrix_is_made_in_a_step(method):
    layer, _, _ = on(nn.Linear(23, 19), method)
    x = draw(4, 23).requires_grad_()
    with _Largest() as made:
        layer(x).sum().backward()
    assert not {(19, 23), (23, 19)} & made.shapes


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
def test_a_base_in_half_precision(low):
    layer = filled(nn.Linear(64, 48)).to(low)
    adapter = moved(adapt(layer, DoRA(rank=2), ["weight"])).adapters["weight"]
    assert adapter.magnitude.dtype == torch.float32
    x = draw(16, 64, dtype=low)
    output = layer(x)
    weight = layer.weight.double() + adapter.delta().double()
    expected = F.linear(x.double(), weight, layer.bias.double())
    assert output.dtype == low
    error = (output.double() - expected).norm() / expected.norm()
    assert error < 2 * torch.finfo(low).eps


def test_autocast_computes_the_norm_in_full_precision():
    layer = filled(nn.Linear(64, 48)).float()
    adapter = moved(adapt(layer, DoRA(rank=2), ["weight"])).adapters["weight"]
    expected = adapter._change(adapter.scaling * adapter.left, adapter.right)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(adapter._change(adapter.scaling * adapter.left, adapter.right), expected)
        assert layer(draw(4, 64, dtype=torch.float32)).dtype == torch.bfloat16


def _int8(layer: nn.Linear) -> None:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_  # noqa: PLC0415 - an extra

    quantize_(layer, Int8WeightOnlyConfig(version=2))


@pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="needs torchao")
@pytest.mark.filterwarnings("ignore")
def test_a_quantized_base():
    layer = nn.Sequential(filled(nn.Linear(32, 24), torch.float32))
    _int8(layer)
    dense = layer[0].weight.dequantize()
    adaptation = adapt(layer, DoRA(rank=2), ["0"])
    adapter = adaptation.adapters["0"]
    x = draw(4, 32, dtype=torch.float32)
    with adaptation.disabled():
        base = layer(x)
    assert torch.equal(layer(x), base)
    assert_close(adapter.magnitude, dense.norm(dim=-1))
    moved(adaptation)
    assert_close(layer(x), F.linear(x, dense_weight(adapter).float(), layer[0].bias))
    layer(x).square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in adaptation.parameters())


def test_a_rank_above_the_layer_is_refused():
    with pytest.raises(MethodError, match=r"rank 6 is above min\(out, in\) = 5"):
        on(nn.Linear(7, 5), DoRA(rank=6))

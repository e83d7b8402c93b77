# SPDX-License-Identifier: Apache-2.0
"""LoRA: the formula, its four starts, scaling, dropout, bias, the embedding convention, and equality with PEFT's."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from random_layers import Holder, draw, filled, moved
from rankwise import Adaptation, LoRA, MethodError, adapt, load
from rankwise.adapters.lora import LoRAAdapter
from rankwise.testing import assert_close

INITS = ["kaiming", "gaussian", "pissa", "olora"]


def linear(
    method: LoRA, *, bias: bool = True, out: int = 5, inside: int = 7
) -> tuple[nn.Linear, Adaptation, LoRAAdapter]:
    layer = filled(nn.Linear(inside, out, bias=bias))
    adaptation = adapt(layer, method, ["weight"])
    return layer, adaptation, adaptation.adapters["weight"]


LAYERS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "linear": (lambda: nn.Linear(7, 5), draw(2, 3, 7)),
    "conv": (lambda: nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=1), draw(2, 4, 6, 5)),
    "conv-grouped": (lambda: nn.Conv1d(6, 4, 3, groups=2, dilation=2), draw(2, 6, 9)),
    "conv-transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, output_padding=1), draw(2, 4, 4, 3)),
    "embedding": (lambda: nn.Embedding(9, 4, padding_idx=3), torch.tensor([[0, 3, 8], [3, 1, 5]])),
}


def test_worked_example():
    layer = nn.Linear(2, 2, bias=False)
    adapter = adapt(layer, LoRA(rank=1, alpha=2.0), ["weight"]).adapters["weight"]
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        adapter.left.copy_(torch.tensor([[1.0], [-1.0]]))
        adapter.right.copy_(torch.tensor([[0.5, 1.0]]))
    assert adapter.delta().tolist() == [[1, 2], [-1, -2]]
    assert layer(torch.ones(1, 2)).tolist() == [[6, 4]]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("init", INITS)
def test_starts_at_the_base_function(name, init):
    build, x = LAYERS[name]
    layer = filled(build())
    expected = layer(x).detach()
    adaptation = adapt(layer, LoRA(rank=2, init=init), ["weight"])
    if init in ("kaiming", "gaussian"):
        assert torch.equal(layer(x), expected)
    assert_close(layer(x), expected)
    moved(adaptation)
    assert (layer(x) - expected).abs().max() > 0.1


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.data())
def test_the_layer_is_the_formula_at_any_size(out, inside, data):
    rank, init = data.draw(st.integers(1, min(out, inside))), data.draw(st.sampled_from(INITS))
    layer, adaptation, adapter = linear(LoRA(rank=rank, alpha=3.0, init=init), out=out, inside=inside)
    left0, right0 = adapter.left.detach().clone(), adapter.right.detach().clone()
    moved(adaptation)
    start = left0 @ right0 if init in ("pissa", "olora") else 0
    weight = layer.weight + 3.0 / rank * (adapter.left @ adapter.right - start)
    x = draw(4, inside)
    assert_close(layer(x), F.linear(x, weight, layer.bias))


def test_the_starts_have_the_published_distributions():
    _, _, adapter = linear(LoRA(rank=4, init="kaiming"), inside=2000)
    assert adapter.right.abs().max() <= 2000**-0.5
    assert adapter.right.std().item() == pytest.approx((3 * 2000) ** -0.5, rel=0.05)
    _, _, adapter = linear(LoRA(rank=4, init="gaussian"), inside=2000)
    assert adapter.right.std().item() == pytest.approx(1 / 4, rel=0.05)
    assert not adapter.left.any()


def test_pissa_starts_from_the_best_approximation_and_its_balanced_factors():
    layer, _, adapter = linear(LoRA(rank=2, alpha=3.0, init="pissa"))
    u, s, v = torch.linalg.svd(layer.weight.detach())
    assert_close(1.5 * adapter.left @ adapter.right, (u[:, :2] * s[:2]) @ v[:2])
    assert_close(adapter.left.mT @ adapter.left, torch.diag(s[:2] / 1.5))
    assert_close(adapter.right @ adapter.right.mT, torch.diag(s[:2] / 1.5))


def test_olora_starts_from_an_orthonormal_basis_of_the_leading_columns():
    layer, _, adapter = linear(LoRA(rank=2, alpha=3.0, init="olora"))
    assert_close(adapter.left.mT @ adapter.left, torch.eye(2, dtype=torch.float64))
    assert_close((1.5 * adapter.left @ adapter.right)[:, :2], layer.weight.detach()[:, :2])


def test_training_from_the_base_moves_only_what_is_trained():
    """With PiSSA the frozen start stays, so that the delta is the change of the product."""
    _, adaptation, adapter = linear(LoRA(rank=2, init="pissa"))
    assert [name for name, _ in adapter.named_parameters()] == ["left", "right"]
    frozen = adapter.left0.clone(), adapter.right0.clone()
    moved(adaptation)
    assert torch.equal(adapter.left0, frozen[0])
    change = adapter.left @ adapter.right - frozen[0] @ frozen[1]
    assert_close(adapter.delta(), 8.0 * change)


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_a_start_from_the_base_is_saved_with_the_adapter(init, tmp_path: Path):
    layer, adaptation, _ = linear(LoRA(rank=2, init=init))
    moved(adaptation)
    x = draw(3, 7)
    expected = layer(x)
    adaptation.save(tmp_path)
    fresh = filled(nn.Linear(7, 5))
    load(fresh, tmp_path)
    assert torch.equal(fresh(x), expected)


@pytest.mark.parametrize("rank", [1, 3, 4])
def test_the_scale_is_alpha_over_the_rank_or_its_root(rank):
    plain, stabilized = (linear(LoRA(rank=rank, alpha=6.0, stabilized=flag))[2] for flag in (False, True))
    for adapter, scale in ((plain, 6 / rank), (stabilized, 6 / rank**0.5)):
        with torch.no_grad():
            adapter.left.copy_(draw(5, rank))
        assert_close(adapter.delta(), scale * adapter.left @ adapter.right)


def test_dropout_acts_on_the_input_of_the_product_alone():
    layer, adaptation, adapter = linear(LoRA(rank=2, dropout=0.5))
    moved(adaptation)
    x, base = draw(64, 7), F.linear(draw(64, 7), layer.weight, layer.bias)
    torch.manual_seed(0)
    dropped = layer.train()(x)
    torch.manual_seed(0)
    assert_close(dropped, base + F.dropout(x, 0.5) @ adapter.delta().mT)
    assert not torch.equal(layer(x), dropped)
    assert_close(layer.eval()(x), base + x @ adapter.delta().mT)


@pytest.mark.parametrize("name", ["linear", "conv", "conv-transposed"])
def test_the_bias_moves_only_if_asked(name):
    build, x = LAYERS[name]
    layer = filled(build())
    expected = layer(x).detach()
    adaptation = adapt(layer, LoRA(rank=2, bias=True), ["weight"])
    change = adaptation.adapters["weight"].bias_change
    assert torch.equal(layer(x), expected)
    with torch.no_grad():
        change.copy_(draw(*change.shape))
    shift = layer(x) - expected
    assert_close(
        shift, change.reshape(-1, *[1] * (x.ndim - 2)).expand_as(shift) if "conv" in name else change.expand_as(shift)
    )
    assert_close(torch.autograd.grad(shift.sum(), change)[0], torch.full_like(change, shift.numel() / len(change)))
    adaptation.merge()
    assert_close(layer(x) - expected, shift)


def test_a_layer_without_a_bias_gets_none():
    layer, _, adapter = linear(LoRA(rank=2, bias=True), bias=False)
    assert [name for name, _ in adapter.named_parameters()] == ["left", "right"]
    assert adapter.bias_delta() is None
    assert layer.bias is None


def test_an_embedding_is_read_as_a_matrix_over_one_hot_vectors():
    layer = filled(nn.Embedding(9, 4))
    adapter = moved(adapt(layer, LoRA(rank=2, alpha=2.0), ["weight"])).adapters["weight"]
    assert adapter.left.shape == (4, 2)
    assert adapter.right.shape == (2, 9)
    indices = torch.tensor([5, 0])
    assert_close(layer(indices), layer.weight[indices] + (adapter.left @ adapter.right)[:, indices].mT)


def test_a_stack_of_matrices_has_one_product_each():
    layer = filled(nn.Bilinear(3, 4, 2))  # a parameter [2, 3, 4]
    adapter = moved(adapt(layer, LoRA(rank=2, alpha=2.0), ["weight"])).adapters["weight"]
    assert adapter.left.shape == (2, 3, 2)
    assert adapter.right.shape == (2, 2, 4)
    weight = layer._parameters["weight"] + torch.stack(
        [a @ b for a, b in zip(adapter.left, adapter.right, strict=True)]
    )
    a, b = draw(5, 3), draw(5, 4, seed=1)
    assert_close(layer(a, b), F.bilinear(a, b, weight, layer.bias))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": 0}, r"LoRA\.rank must be at least 1, got 0"),
        ({"alpha": 0.0}, r"LoRA\.alpha must be above 0, got 0"),
        ({"dropout": 1.0}, r"LoRA\.dropout must be in \[0, 1\), got 1"),
    ],
)
def test_fields_out_of_range_are_refused(fields, message):
    with pytest.raises(MethodError, match=message):
        LoRA(**fields)


@pytest.mark.parametrize("init", INITS)
def test_a_rank_above_the_layer_is_refused(init):
    with pytest.raises(MethodError, match=r"rank 6 is above min\(out, in\) = 5"):
        linear(LoRA(rank=6, init=init))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("stabilized", [False, True])
@pytest.mark.parametrize(
    ("build", "x"),
    [
        (lambda: nn.Linear(7, 5), draw(2, 3, 7)),
        (lambda: nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=1), draw(2, 4, 6, 5)),
        (lambda: nn.Embedding(9, 4), torch.tensor([[0, 3, 8], [3, 1, 5]])),
    ],
    ids=["linear", "conv", "embedding"],
)
def test_equals_peft_with_the_same_factors(build, x, stabilized, dtype):
    peft = pytest.importorskip("peft")
    mine, theirs = Holder(filled(build(), dtype)), Holder(filled(build(), dtype))
    x = x.to(dtype) if x.is_floating_point() else x
    adaptation = moved(adapt(mine, LoRA(rank=3, alpha=5.0, stabilized=stabilized), ["layer"]))
    adapter = adaptation.adapters["layer"]
    config = peft.LoraConfig(r=3, lora_alpha=5, use_rslora=stabilized, target_modules=["layer"])
    peft.get_peft_model(theirs, config, autocast_adapter_dtype=False)
    named = {name: parameter for name, parameter in theirs.named_parameters() if parameter.requires_grad}
    right = next(parameter for name, parameter in named.items() if "_A" in name)
    left = next(parameter for name, parameter in named.items() if "_B" in name)
    with torch.no_grad():
        right.copy_(adapter.right.view_as(right))
        left.copy_(adapter.left.view_as(left))
    weights = torch.linspace(-1, 2, mine(x).numel(), dtype=dtype)
    for model in (mine, theirs):
        (model(x).flatten() * weights).sum().backward()
    assert_close(mine(x), theirs(x))
    assert_close(adapter.right.grad.flatten(), right.grad.flatten())
    assert_close(adapter.left.grad.flatten(), left.grad.flatten())

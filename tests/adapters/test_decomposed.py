# SPDX-License-Identifier: Apache-2.0
"""ConvDoRA, DoRAC and CPDoRA: a magnitude beside each form of update, the norm, both gradients, the limit DoRA."""

from collections.abc import Callable
from functools import reduce

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from random_layers import draw, filled, moved
from rankwise import Adaptation, DoRA, LoRA, MethodError, TargetError, adapt
from rankwise.adapters.convdora import ConvDoRA
from rankwise.adapters.convlora import ConvLoRA
from rankwise.adapters.cpdora import CPDoRA
from rankwise.adapters.cplora import CPLoRA
from rankwise.adapters.decomposed import WithMagnitude
from rankwise.adapters.dorac import DoRAC
from rankwise.adapters.lorac import LoRAC
from rankwise.testing import assert_close

KINDS = {"convdora": (ConvDoRA, ConvLoRA), "dorac": (DoRAC, LoRAC), "cpdora": (CPDoRA, CPLoRA)}
LAYERS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "plain": (lambda: nn.Conv2d(4, 6, 3), torch.ones(2, 4, 6, 5)),
    "reflect": (
        lambda: nn.Conv2d(4, 6, 3, padding=(1, 2), padding_mode="reflect", stride=2, dilation=(2, 1)),
        torch.ones(2, 4, 7, 6),
    ),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2, stride=2), torch.ones(2, 4, 7, 6)),
    "no-bias": (lambda: nn.Conv2d(4, 6, 1, bias=False), torch.ones(2, 4, 3, 2)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, output_padding=1), torch.ones(2, 4, 4, 3)),
}
CASES = [(kind, name) for kind in KINDS for name in LAYERS]


def built(name: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor]:
    """A layer with all values random, and an input."""
    build, like = LAYERS[name]
    return filled(build(), dtype), draw(*like.shape, dtype=dtype)


def on(kind: str, layer: nn.Module, **fields: object) -> tuple[Adaptation, WithMagnitude]:
    """The method on a layer, away from the start."""
    adaptation = moved(adapt(layer, KINDS[kind][0](rank=2, alpha=3.0, **fields), ["weight"]))
    return adaptation, adaptation.adapters["weight"]


def direction(adapter: WithMagnitude) -> Tensor:
    """V, from the dense kernel."""
    return adapter.target.matrix() + adapter.plain.delta().reshape(adapter.target.matrix_shape)


def weight(adapter: WithMagnitude, norm: Tensor | None = None) -> Tensor:
    """M V / ||V||, as the layer stores it."""
    dense = direction(adapter)
    norm = dense.norm(dim=-1) if norm is None else norm
    rows = adapter.magnitude[:, None] * dense / norm[:, None]
    return adapter.target.to_storage(rows.reshape(adapter.target.shape))


def test_worked_example():
    layer = nn.Conv2d(2, 1, 1, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1))
    adapter = adapt(layer, ConvDoRA(rank=1, alpha=1.0), ["weight"]).adapters["weight"]
    assert adapter.magnitude.item() == 5
    with torch.no_grad():
        adapter.plain.left.fill_(1)
        adapter.plain.right.copy_(torch.tensor([[0.0, -4.0]]))
    pixels = torch.eye(2, dtype=torch.float64)[:, :, None, None]
    assert_close(layer(pixels).flatten(), torch.tensor([5.0, 0.0], dtype=torch.float64))
    layer(pixels).sum().backward()  # the gradient by the effective weight is (1, 1)
    assert adapter.magnitude.grad.item() == pytest.approx(1)
    assert_close(adapter.plain.right.grad, torch.full((1, 2), 5 / 3, dtype=torch.float64))


@pytest.mark.parametrize(("kind", "name"), CASES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_starts_at_the_base_to_the_bit(kind, name, dtype):
    layer, x = built(name, dtype)
    expected = layer(x).detach()
    adaptation = adapt(layer, KINDS[kind][0](rank=2), ["weight"])
    assert torch.equal(layer(x), expected)
    assert not adaptation.adapters["weight"].delta().any()


@pytest.mark.parametrize(("kind", "name"), CASES)
@pytest.mark.parametrize("detach_norm", [True, False])
def test_the_layer_applies_the_formula(kind, name, detach_norm):
    layer, x = built(name)
    adaptation, adapter = on(kind, layer, detach_norm=detach_norm)
    stored = weight(adapter)
    assert_close(adapter.target.to_storage(adapter.target.weight() + adapter.delta()), stored)
    rows = adapter.target.from_storage(stored).flatten(1)
    assert_close(rows.norm(dim=-1), adapter.magnitude.abs())
    output = layer(x)
    with adaptation.disabled():
        plain = layer(x)
        expected = torch.func.functional_call(layer, {"weight": stored}, (x,))
    assert_close(output, expected)
    assert (expected - plain).abs().max() > 0.1


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_the_norm_is_that_of_the_dense_kernel(kind, name):
    _, adapter = on(kind, built(name)[0])
    assert_close(adapter._norm(*adapter.update()), direction(adapter).norm(dim=-1))
    product = reduce(torch.matmul, adapter.update())
    assert_close(product.reshape(adapter.target.shape), adapter.plain.delta())


@pytest.mark.parametrize(("kind", "name"), CASES)
@pytest.mark.parametrize("detach_norm", [True, False])
def test_both_gradients(kind, name, detach_norm):
    layer, x = built(name)
    adaptation, adapter = on(kind, layer, detach_norm=detach_norm)
    x.requires_grad_()
    inputs = [*adaptation.parameters(), x]
    weights = torch.linspace(-1, 2, layer(x).numel(), dtype=torch.float64)
    actual = torch.autograd.grad((layer(x).flatten() * weights).sum(), inputs)
    norm = direction(adapter).norm(dim=-1)
    stored = weight(adapter, norm.detach() if detach_norm else norm)
    with adaptation.disabled():
        output = torch.func.functional_call(layer, {"weight": stored}, (x,))
    expected = torch.autograd.grad((output.flatten() * weights).sum(), inputs)
    for mine, other in zip(actual, expected, strict=True):
        assert_close(mine, other)


@pytest.mark.parametrize("kind", KINDS)
def test_the_exact_gradient_equals_finite_differences(kind):
    layer, x = built("grouped")
    adaptation, _ = on(kind, layer, detach_norm=False)
    assert torch.autograd.gradcheck(lambda *_: layer(x), list(adaptation.parameters()), fast_mode=True)


@pytest.mark.parametrize("kind", KINDS)
def test_the_bias_is_not_scaled(kind):
    layer, x = built("grouped")
    _, adapter = on(kind, layer)
    bias = layer.bias[:, None, None]
    first = layer(x)
    with torch.no_grad():
        adapter.magnitude.mul_(3)
    assert_close(layer(x) - bias, 3 * (first - bias))


@pytest.mark.parametrize("kind", KINDS)
def test_a_magnitude_at_the_norm_leaves_the_plain_method(kind):
    layer, x = built("grouped")
    _, adapter = on(kind, layer)
    with torch.no_grad():
        adapter.magnitude.copy_(direction(adapter).norm(dim=-1))
    twin, _ = built("grouped")
    plain = adapt(twin, KINDS[kind][1](rank=2, alpha=3.0), ["weight"]).adapters["weight"]
    plain.load_state_dict(adapter.plain.state_dict())
    assert_close(layer(x), twin(x))


@pytest.mark.parametrize(("kind", "count"), [("convdora", 320), ("dorac", 576), ("cpdora", 76)])
def test_parameter_counts(kind, count):
    method, plain = KINDS[kind]
    for one, expected in ((method(rank=2), count + 16), (plain(rank=2), count)):
        assert adapt(nn.Conv2d(16, 16, 3), one, ["weight"]).summary().trainable == expected


def test_convdora_without_groups_is_dora():
    outputs, gradients = [], []
    for method in (ConvDoRA(rank=2, alpha=3.0), DoRA(rank=2, alpha=3.0)):
        layer, x = built("reflect")
        adapter = adapt(layer, method, ["weight"]).adapters["weight"]
        factors = getattr(adapter, "plain", adapter)
        with torch.no_grad():
            factors.left.copy_(draw(6, 2))
            adapter.magnitude.mul_(1.5)
        outputs.append(layer(x))
        outputs[-1].square().sum().backward()
        gradients.append([one.grad for one in (factors.left, factors.right, adapter.magnitude)])
    assert torch.equal(*outputs)
    assert all(torch.equal(mine, other) for mine, other in zip(*gradients, strict=True))


@pytest.mark.parametrize(
    ("build", "x"),
    [
        (lambda: nn.Linear(4, 6), draw(3, 4)),
        (lambda: nn.Conv2d(4, 6, 1, stride=2), draw(2, 4, 5, 4)),
        (lambda: nn.Embedding(9, 4), torch.tensor([[0, 3, 8]])),
    ],
    ids=["linear", "conv-1x1", "embedding"],
)
def test_cpdora_without_kernel_sides_is_dora(build, x):
    layer, twin = filled(build()), filled(build())
    _, adapter = on("cpdora", layer)
    dora = adapt(twin, DoRA(rank=2, alpha=3.0), ["weight"]).adapters["weight"]
    with torch.no_grad():
        dora.left.copy_(adapter.plain.out)
        dora.right.copy_(adapter.plain.sides.mT)
        dora.magnitude.copy_(adapter.magnitude)
    assert_close(layer(x), twin(x))


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_acts_on_the_update_alone(kind):
    layer, x = built("plain")
    _, adapter = on(kind, layer, dropout=0.5)
    gain = (adapter.magnitude / direction(adapter).norm(dim=-1))[:, None, None]
    torch.manual_seed(0)
    dropped = layer.train()(x)
    torch.manual_seed(0)
    branch = F.conv2d(F.dropout(x, 0.5), adapter.plain.delta())
    assert_close(dropped, gain * (F.conv2d(x, layer.weight) + branch) + layer.bias[:, None, None])


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_merging_beside_another_adapter(kind, name):
    layer, x = built(name)
    kept = layer.weight.detach().clone()
    adaptation, _ = on(kind, layer)
    other = moved(adapt(layer, LoRA(rank=2), ["weight"], name="other"))
    expected = layer(x)
    other.merge()
    assert_close(layer(x), expected)
    adaptation.merge()
    assert_close(layer(x), expected)
    other.unmerge()
    adaptation.unmerge()
    assert torch.equal(layer.weight, kept)


@pytest.mark.parametrize("kind", KINDS)
def test_filters_of_zeros_stay_zero_and_finite(kind):
    layer, x = built("plain")
    with torch.no_grad():
        layer.weight[1] = 0
    adaptation = adapt(layer, KINDS[kind][0](rank=2, detach_norm=False), ["weight"])
    layer(x).square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in adaptation.parameters())
    assert_close(layer(x)[:, 1], layer.bias[1].expand(2, 4, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_computes_the_norm_in_full_precision(kind):
    layer = filled(nn.Conv2d(8, 8, 3), torch.float32)
    _, adapter = on(kind, layer)
    expected = adapter._change(*adapter.update())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(adapter._change(*adapter.update()), expected)
        assert layer(draw(2, 8, 6, 5, dtype=torch.float32)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("method", "layer", "message"),
    [
        (ConvDoRA(), nn.Linear(4, 6), "'weight' is no convolution, and ConvDoRA .* use DoRA there"),
        (ConvDoRA(), nn.Conv2d(4, 4, 3, groups=4), "is depthwise .* where ConvDoRA needs"),
        (DoRAC(), nn.Linear(4, 6), "'weight' is no convolution, and DoRAC .* use DoRA there"),
        (DoRAC(), nn.Conv2d(4, 6, (3, 2)), "DoRAC is defined on square kernels .* use ConvDoRA there"),
    ],
)
def test_layers_that_are_not_covered_are_refused(method, layer, message):
    with pytest.raises(TargetError, match=message):
        adapt(layer, method, ["weight"])


@pytest.mark.parametrize("kind", KINDS)
def test_fields_out_of_range_are_refused(kind):
    method = KINDS[kind][0]
    with pytest.raises(MethodError, match=rf"{method.__name__}\.rank must be at least 1, got 0"):
        method(rank=0)
    with pytest.raises(MethodError, match=r"rank 1000 "):
        adapt(nn.Conv2d(4, 6, 3), method(rank=1000), ["weight"])


@pytest.mark.slow
@pytest.mark.parametrize("plain", ["CPLoRA(rank=2)", "ConvLoRA(rank=1)", "LoRAC(rank=1)"])
def test_every_form_moves_a_segmentation_to_another_domain(plain):
    """The claim of `benchmarks/conv_family.py`, on one seed and for one rank each."""
    import conv_family  # noqa: PLC0415 - a benchmark script

    names = [plain, plain.replace("LoRA", "DoRA")]
    results = conv_family.transfer(seed=0, steps=250, methods={name: conv_family.METHODS[name] for name in names})
    for name in names:
        assert results[name].dice > results["decoder alone"].dice
        assert results[name].parameters < 0.2 * results["full fine-tuning"].parameters
    assert abs(results[names[0]].dice - results[names[1]].dice) < 0.05

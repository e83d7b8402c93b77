# SPDX-License-Identifier: Apache-2.0
"""TLoRA: both tensor rings entry by entry, the layer as the dense weight, its start, sizes, limits and refusals."""

import itertools
import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from random_layers import Made, draw, filled, moved
from rankwise import Adaptation, LoRA, MethodError, TargetError, adapt
from rankwise.adapters.tlora import TLoRA, TLoRAAdapter
from rankwise.core.method import Method
from rankwise.testing import TOLERANCE, assert_close


def on(method: TLoRA, inputs: int = 12, out: int = 10) -> tuple[nn.Module, Adaptation, TLoRAAdapter]:
    """A filled linear layer with the method on it, away from the start."""
    layer = filled(nn.Linear(inputs, out))
    adaptation = moved(adapt(layer, method, ["weight"]))
    return layer, adaptation, adaptation.adapters["weight"]


def tensors(adapter: TLoRAAdapter, name: str) -> list[Tensor]:
    """The cores of one kind in their order."""
    return [value for key, value in adapter.named_parameters() if key.startswith(f"{name}_")]


def transform(adapter: TLoRAAdapter) -> Tensor:
    """T, entry by entry from the definition."""
    changes = tensors(adapter, "transform")
    rank, sides = changes[0].shape[-1], [len(core) for core in changes]
    cores = [core + torch.eye(len(core), dtype=torch.float64)[..., None, None] / rank for core in changes]
    places = list(itertools.product(*map(range, sides)))
    entries = []
    for i in places:
        for j in places:
            product = torch.eye(rank, dtype=torch.float64)
            for core, row, column in zip(cores, i, j, strict=True):
                product = product @ core[row, column]
            entries.append(product.trace())
    return torch.stack(entries).reshape(math.prod(sides), -1)


def ring(adapter: TLoRAAdapter) -> Tensor:
    """A ring Delta, entry by entry from the definition."""
    outputs, inputs = tensors(adapter, "out"), tensors(adapter, "in")
    rows = list(itertools.product(*(range(len(core)) for core in outputs)))
    columns = list(itertools.product(*(range(len(core)) for core in inputs)))
    entries = []
    for o in rows:
        for i in columns:
            product = torch.eye(outputs[0].shape[-1], dtype=torch.float64)
            for core, place in zip([*outputs, *inputs], [*o, *i], strict=True):
                product = product @ core[place]
            entries.append(product.trace())
    return torch.stack(entries).reshape(len(rows), -1)


def adapted_weight(layer: nn.Module, adapter: TLoRAAdapter) -> Tensor:
    """W0 T + s Delta from the definitions."""
    residual = ring(adapter) if adapter.ring else adapter.left @ adapter.right
    weight = layer.weight
    return (weight @ transform(adapter) if adapter.shape else weight) + adapter.scaling * residual


@pytest.mark.parametrize("residual", ["lora", "ring"])
@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_value_and_gradients_are_those_of_the_definition(residual, rank):
    method = TLoRA(rank=2, transform_rank=rank, residual=residual, alpha=1.5, shapes=("2x3x2",))
    layer = filled(nn.Linear(12, 10 if rank < 3 else 40))
    x = draw(3, 2, 12, seed=7).requires_grad_()
    base = layer(x).detach()
    adaptation = adapt(layer, method, ["weight"])
    adapter = adaptation.adapters["weight"]
    assert torch.equal(layer(x), base)
    assert not adapter.delta().any()
    moved(adaptation)
    weight = adapted_weight(layer, adapter)
    assert_close(adapter.delta(), weight - layer.weight)
    inputs = [*adaptation.parameters(), x]
    weights = torch.linspace(-1, 2, base.numel(), dtype=torch.float64)
    output = layer(x)
    expected_output = F.linear(x, weight, layer.bias)
    assert_close(output, expected_output)
    actual = torch.autograd.grad((output.flatten() * weights).sum(), inputs)
    expected = torch.autograd.grad((expected_output.flatten() * weights).sum(), inputs)
    for mine, other in zip(actual, expected, strict=True):
        assert_close(mine, other)
    adaptation.merge()
    assert_close(layer.weight, weight)


def test_with_rank_one_the_transform_is_a_kronecker_product():
    layer, _, adapter = on(TLoRA(shapes=("2x3x2",)))
    first, second, third = (core[..., 0, 0] + torch.eye(len(core)) for core in tensors(adapter, "transform"))
    product = torch.kron(torch.kron(first, second), third)
    assert_close(adapter.delta(), layer.weight @ product - layer.weight + adapter.left @ adapter.right)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.integers(1, 2), st.integers(1, 3), st.booleans())
def test_any_factors_and_ranks(shape, rank, transform_rank, stabilized):
    """Also sides of length one, one factor alone, and shapes that are not sorted."""
    inputs = math.prod(shape)
    out = 1 + transform_rank**2 * sum(side**2 for side in shape) // inputs
    method = TLoRA(
        rank=rank,
        transform_rank=transform_rank,
        residual="ring",
        alpha=3.0,
        stabilized=stabilized,
        shapes=("x".join(map(str, shape)),),
    )
    layer, _, adapter = on(method, inputs, out)
    assert adapter.scaling == 3.0 / (rank**0.5 if stabilized else rank)
    assert_close(layer(draw(4, inputs)), F.linear(draw(4, inputs), adapted_weight(layer, adapter), layer.bias))
    assert torch.linalg.matrix_rank(ring(adapter)) <= rank**2


UNET = {"4x8x10": 320, "8x8x10": 640, "8x10x16": 1280}  # attention widths; the text has 768 features, or 2048


@pytest.mark.parametrize(
    ("method", "text", "blocks", "count"),
    [
        (TLoRA(rank=6, transform_rank=2, residual="ring"), 768, {320: 5, 640: 5, 1280: 6}, 400_288),
        (TLoRA(rank=4, transform_rank=2), 768, {320: 5, 640: 5, 1280: 6}, 941_440),
        (TLoRA(rank=2, transform_rank=1, residual="ring"), 2048, {640: 10, 1280: 60}, 396_720),
        (TLoRA(rank=1, transform_rank=0), 2048, {640: 10, 1280: 60}, 1_451_520),
    ],
    ids=["sd15-ring", "sd15-lora", "sdxl-ring", "sdxl-lora"],
)
def test_parameter_counts_of_the_paper(method, text, blocks, count):
    """A block attends to itself (four square projections) and to the text (two square ones, two from the text)."""
    total = 0
    for width, number in blocks.items():
        pair = nn.Sequential(nn.Linear(width, width, bias=False), nn.Linear(text, width, bias=False))
        fields = method.to_dict() | {"shapes": ("4x8x10",) if width == 320 else ()}
        adaptation = adapt(pair, Method.from_dict(fields), ["0", "1"])
        square, wide = (sum(p.numel() for p in adaptation.adapters[name].parameters()) for name in "01")
        total += number * (6 * square + 2 * wide)
    assert total == count


@pytest.mark.parametrize(
    ("length", "shape"),
    [
        (640, (8, 8, 10)),
        (768, (8, 8, 12)),
        (1280, (8, 10, 16)),
        (2048, (8, 16, 16)),
        (6, (2, 3)),
        (7, (7,)),
        (1, (1,)),
        (320, (5, 8, 8)),
    ],
)
def test_sides_without_a_shape_get_balanced_factors(length, shape):
    assert TLoRA().shape(length) == shape
    assert TLoRA(shapes=("10x8x4",)).shape(length) == ((10, 8, 4) if length == 320 else shape)


@pytest.mark.parametrize("method", [TLoRA(rank=2), TLoRA(rank=2, transform_rank=2, residual="ring")])
def test_gradients_at_the_start(method):
    layer = filled(nn.Linear(12, 18))
    adaptation = adapt(layer, method, ["weight"])
    layer(draw(5, 12)).square().sum().backward()
    adapter = adaptation.adapters["weight"]
    for name, parameter in adapter.named_parameters():
        assert bool(parameter.grad.any()) == (name.startswith("transform_") or name in ("left", "out_1")), name


def test_the_starts_have_the_stated_deviations():
    shapes = ("20x30x40",)
    adapter = adapt(nn.Linear(24000, 4), TLoRA(rank=3, transform_rank=0, residual="ring", shapes=shapes), ["weight"])
    inputs = tensors(adapter.adapters["weight"], "in")
    adapter = adapt(nn.Linear(4, 24000), TLoRA(rank=3, transform_rank=0, residual="ring", shapes=shapes), ["weight"])
    first, *others = tensors(adapter.adapters["weight"], "out")
    right = adapt(nn.Linear(2000, 4), TLoRA(rank=4), ["weight"]).adapters["weight"].right
    assert not first.any()
    for core in inputs:
        assert core.std().item() == pytest.approx(len(core) ** -0.5, rel=0.2)
    for core in others:
        assert core.std().item() == pytest.approx(len(core) ** 0.5 / 9, rel=0.2)
    assert right.std().item() == pytest.approx((1 / 3 / 2000) ** 0.5, rel=0.05)


def test_without_a_transform_it_is_stabilized_lora():
    layer, _, adapter = on(TLoRA(rank=3, transform_rank=0, alpha=2.0))
    twin = filled(nn.Linear(12, 10))
    plain = adapt(twin, LoRA(rank=3, alpha=2.0, stabilized=True), ["weight"]).adapters["weight"]
    with torch.no_grad():
        plain.left.copy_(adapter.left)
        plain.right.copy_(adapter.right)
    assert_close(layer(draw(5, 12)), twin(draw(5, 12)))


def test_a_diagonal_core_scales_the_columns():
    layer, _, adapter = on(TLoRA(shapes=("6",)), inputs=6, out=8)
    scales = draw(6)
    with torch.no_grad():
        adapter.transform_1.copy_(torch.diag(scales - 1)[..., None, None])
        adapter.left.zero_()
    assert_close(layer(draw(5, 6)), F.linear(draw(5, 6), layer.weight * scales, layer.bias))


def test_the_scale_interpolates_between_identity_and_transform():
    layer, adaptation, adapter = on(TLoRA(transform_rank=2), out=16)
    x, identity = draw(5, 12), torch.eye(12, dtype=torch.float64)
    part = identity + 0.5 * (transform(adapter) - identity)
    adaptation.scale = 0.5
    expected = layer.weight @ part + 0.5 * adapter.left @ adapter.right
    assert_close(layer(x), F.linear(x, expected, layer.bias))


def test_holds_a_transformed_weight_that_no_low_rank_update_comes_near():
    """A weight times a Kronecker product plus a rank of one: LoRA of rank 2 keeps more than half of the change away."""
    layer = filled(nn.Linear(48, 48))
    adaptation = adapt(layer, TLoRA(shapes=("3x4x4",)), ["weight"])
    adapter = adaptation.adapters["weight"]
    with torch.no_grad():
        for i, parameter in enumerate(adaptation.parameters()):
            parameter.copy_(0.15 * draw(*parameter.shape, seed=60 + i))
    parts = [torch.eye(len(core)) + core[..., 0, 0] for core in tensors(adapter, "transform")]
    product = torch.kron(torch.kron(parts[0], parts[1]), parts[2])
    change = layer.weight @ (product - torch.eye(48)) + adapter.left @ adapter.right
    assert_close(adapter.delta(), change)
    assert adaptation.summary().trainable == 9 + 16 + 16 + 96
    energy = torch.linalg.svdvals(change).square()
    assert energy[2:].sum() > 0.5 * energy.sum()


def test_the_numerical_gradient_agrees_to_second_order():
    layer, adaptation, _ = on(TLoRA(transform_rank=2, residual="ring"), inputs=4, out=9)
    names = [name for name, parameter in layer.named_parameters() if parameter.requires_grad]
    values = [parameter.detach().requires_grad_() for parameter in adaptation.parameters()]

    def run(x: Tensor, *tensors: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, tensors, strict=True)), (x,))

    inputs = (draw(2, 4).requires_grad_(), *values)
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


@pytest.mark.parametrize("residual", ["lora", "ring"])
def test_no_matrix_is_made_in_a_step(residual):
    layer, _, _ = on(TLoRA(rank=2, residual=residual), inputs=64, out=48)
    x = draw(3, 64).requires_grad_()
    with Made() as made:
        layer(x).sum().backward()
    assert max(made.sizes) <= 64 * 4  # tokens, or a factor of the ring
    assert len(made.sizes) > 10


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
def test_a_base_in_half_precision(low):
    layer = filled(nn.Linear(64, 48), low)
    adapter = moved(adapt(layer, TLoRA(rank=2), ["weight"])).adapters["weight"]
    with torch.no_grad():
        for core in tensors(adapter, "transform"):
            core.mul_(0.1)
    x = draw(5, 64, dtype=low)
    output = layer(x)
    expected = F.linear(x.double(), layer.weight.double() + adapter.delta().double(), layer.bias.double())
    assert output.dtype == low
    assert adapter.transform_1.dtype == torch.float32
    assert (output.double() - expected).norm() / expected.norm() < 4 * torch.finfo(low).eps


def test_converts_to_a_lora_of_full_rank():
    layer, adaptation, _ = on(TLoRA(rank=2))
    expected = layer(draw(5, 12))
    assert adaptation.convert(LoRA(rank=10)).relative_error["weight"] < TOLERANCE[torch.float64][0]
    assert_close(layer(draw(5, 12)), expected)


def test_fields_survive_json():
    method = TLoRA(rank=2, residual="ring", shapes=("4x8x10", "2x3"))
    assert Method.from_dict(json.loads(json.dumps(method.to_dict()))) == method


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": 0}, r"TLoRA\.rank must be at least 1, got 0"),
        ({"transform_rank": -1}, r"TLoRA\.transform_rank must be at least 0, got -1"),
        ({"alpha": 0.0}, r"TLoRA\.alpha must be above 0, got 0"),
        ({"shapes": ("4*8",)}, r"TLoRA\.shapes must be written as '4x8x10', got '4\*8'"),
        ({"shapes": ("4x0",)}, r"must be written as '4x8x10', got '4x0'"),
        ({"shapes": ("4x6", "3x8")}, r"two shapes for the length 24"),
    ],
)
def test_fields_out_of_range_are_refused(fields, message):
    with pytest.raises(MethodError, match=message):
        TLoRA(**fields)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (TLoRA(rank=7, transform_rank=0), r"rank 7 is above min\(out, in\) = 6"),
        (TLoRA(shapes=("2x4",)), r"shape '2x4' has the product 8, but no target has such a side .*\[6, 7\]"),
        (
            TLoRA(),
            r"factors \[7\] of its 7 inputs and transform_rank 1 has 49 parameters, no fewer than the weight's 42",
        ),
    ],
)
def test_what_does_not_fit_is_refused(method, message):
    with pytest.raises(MethodError, match=message):
        adapt(nn.Linear(7, 6), method, ["weight"])


@pytest.mark.parametrize("layer", [nn.Conv2d(4, 6, 3), nn.Embedding(9, 4)])
def test_other_layers_than_linear_ones_are_refused(layer):
    with pytest.raises(TargetError, match="linear layers alone"):
        adapt(layer, TLoRA(), ["weight"])


@pytest.mark.slow
def test_a_transform_and_a_residual_learn_what_a_low_rank_update_of_more_parameters_does_not():
    """The transfer of `benchmarks/digits_transfer.py` at one learning rate, mean of three seeds."""
    from digits_transfer import transferred  # noqa: PLC0415 - a benchmark script

    means, sizes = [], []
    for method in (TLoRA(rank=3, residual="ring"), LoRA(rank=2, alpha=2)):
        runs = [transferred(method, 2e-2, seed) for seed in range(3)]
        means.append(sum(run.accuracy for run in runs) / 3)
        sizes.append(runs[0].parameters)
    assert sizes[0] < sizes[1]
    assert means[0] > means[1] + 0.02

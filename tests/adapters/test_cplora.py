# SPDX-License-Identifier: Apache-2.0
"""CPLoRA: the sum of outer products, its sizes, its start, running side by side, and its limit LoRA."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from random_layers import (
    Made,
    assert_drops_its_input,
    assert_gradients_are_those_of,
    assert_merges_scales_and_converts,
    assert_starts_at_the_base_and_runs_as,
    draw,
    filled,
    moved,
    on,
)
from rankwise import LoRA, MethodError, adapt
from rankwise.adapters.cplora import CPLoRA, CPLoRAAdapter
from rankwise.testing import assert_close

METHOD = CPLoRA(rank=2, alpha=3.0)
CONVOLUTIONS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "plain": (lambda: nn.Conv2d(4, 6, 3), draw(2, 4, 6, 5)),
    "unbatched": (lambda: nn.Conv2d(4, 6, 3, padding=1), draw(4, 6, 5)),
    "settings": (lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), draw(2, 4, 7, 6)),
    "grouped": (lambda: nn.Conv2d(4, 6, (2, 3), groups=2, stride=2), draw(2, 4, 7, 6)),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4, padding=1), draw(2, 4, 5, 6)),
    "reflect": (lambda: nn.Conv2d(4, 6, 3, padding=(1, 2), padding_mode="reflect", stride=2), draw(2, 4, 7, 6)),
    "circular-same": (lambda: nn.Conv2d(4, 6, (3, 5), padding="same", padding_mode="circular"), draw(2, 4, 7, 6)),
    "same": (lambda: nn.Conv2d(4, 6, (3, 5), padding="same", dilation=(2, 1)), draw(2, 4, 7, 6)),
    "flat": (lambda: nn.Conv2d(4, 6, (1, 3), stride=(2, 1), padding=(1, 1)), draw(2, 4, 7, 6)),
    "flat-replicate": (
        lambda: nn.Conv2d(4, 6, (3, 1), stride=(1, 2), padding=(1, 2), padding_mode="replicate"),
        draw(2, 4, 7, 6),
    ),
    "one": (lambda: nn.Conv2d(4, 6, 1, stride=2, padding=1), draw(2, 4, 7, 6)),
    "1d": (lambda: nn.Conv1d(6, 4, 4, groups=2, dilation=2), draw(2, 6, 9)),
    "3d": (lambda: nn.Conv3d(3, 4, (2, 3, 2), stride=(1, 2, 1), padding=1), draw(2, 3, 4, 5, 3)),
    "transposed-1d": (lambda: nn.ConvTranspose1d(4, 6, 3, stride=3, output_padding=1), draw(2, 4, 5)),
    "transposed": (
        lambda: nn.ConvTranspose2d(
            4, 6, (3, 2), stride=(2, 3), padding=(1, 0), output_padding=(1, 2), groups=2, dilation=(1, 2)
        ),
        draw(2, 4, 4, 3),
    ),
    "transposed-flat": (
        lambda: nn.ConvTranspose2d(4, 6, (1, 3), stride=(2, 1), output_padding=(1, 0)),
        draw(2, 4, 4, 3),
    ),
    "transposed-3d": (lambda: nn.ConvTranspose3d(3, 4, 2, stride=2), draw(1, 3, 2, 3, 2)),
}


def dense(adapter: CPLoRAAdapter) -> Tensor:
    """The sum of outer products, written out."""
    sides = iter(adapter.sides.split(adapter.lengths, dim=-2))
    total = torch.zeros(adapter.target.shape, dtype=torch.float64)
    vectors = [adapter.out, next(sides), *(next(sides) if n > 1 else None for n in adapter.kernel)]
    for q in range(adapter.out.shape[-1]):
        outer = torch.ones((), dtype=torch.float64)
        for side in vectors:
            outer = outer[..., None] * (torch.ones(1, dtype=torch.float64) if side is None else side[:, q])
        total = total + adapter.scaling * outer
    return total


def test_worked_example():
    layer = nn.Conv2d(1, 1, (2, 3), bias=False).double()
    adapter = adapt(layer, CPLoRA(rank=1, alpha=1.0), ["weight"]).adapters["weight"]
    with torch.no_grad():
        adapter.out.fill_(2)
        adapter.sides.copy_(torch.tensor([[1.0], [1.0], [2.0], [1.0], [0.0], [-1.0]]))  # b, c and d
    assert adapter.delta().tolist() == [[[[2, 0, -2], [4, 0, -4]]]]


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_starts_at_the_base_and_runs_as_the_formula(name):
    build, x = CONVOLUTIONS[name]
    assert_starts_at_the_base_and_runs_as(dense, build(), x, METHOD)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_gradients_are_those_of_the_dense_kernel(name):
    build, x = CONVOLUTIONS[name]
    assert_gradients_are_those_of(dense, build(), x, METHOD)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_running_side_by_side_equals_the_kernel_at_once(data):
    """For any settings of a convolution, `down_by_sides` is `down` with the Khatri-Rao product."""
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel, stride, dilation = (data.draw(pair, label=name) for name in ("kernel", "stride", "dilation"))
    groups, padding = data.draw(st.sampled_from([1, 2]), label="groups"), data.draw(pair, label="padding")
    mode = data.draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]), label="mode")
    layer = nn.Conv2d(4, 6, kernel, stride, padding, dilation, groups, padding_mode=mode)
    layer, _, adapter = on(layer, CPLoRA(rank=1))
    x = draw(2, 4, 7, 8)
    like = layer(x)
    whole = adapter.target.down(x, adapter.factors()[1], like)
    first, *rest = adapter.sides.split(adapter.lengths)
    sides = [rest.pop(0) if length > 1 else None for length in kernel]
    assert_close(adapter.target.down_by_sides(x, first, sides, like), whole)


@pytest.mark.parametrize(
    ("build", "rank", "count"),
    [
        (lambda: nn.Conv2d(16, 16, 3), 2, 76),
        (lambda: nn.Conv3d(8, 4, (3, 2, 5)), 3, 3 * (8 + 4 + 3 + 2 + 5)),
        (lambda: nn.Conv2d(16, 8, 3, groups=4), 2, 2 * (8 + 4 + 3 + 3)),
        (lambda: nn.Conv2d(16, 8, (1, 3)), 2, 2 * (8 + 16 + 3)),
        (lambda: nn.Linear(16, 8), 2, 2 * (8 + 16)),
    ],
)
def test_parameter_counts(build, rank, count):
    assert adapt(build(), CPLoRA(rank=rank), ["weight"]).summary().trainable == count


def test_exactly_one_side_starts_at_zero_and_every_side_learns():
    layer = filled(nn.Conv2d(4, 6, 3))
    adaptation = adapt(layer, METHOD, ["weight"])
    adapter = adaptation.adapters["weight"]
    assert not adapter.out.any()
    assert (adapter.sides != 0).all()
    optimizer = torch.optim.SGD(adaptation.parameters(), lr=0.01)
    adaptation.attach(optimizer)
    for _ in range(2):
        optimizer.zero_grad()
        layer(draw(2, 4, 6, 5)).square().sum().backward()
        optimizer.step()
    assert (adapter.out.grad != 0).all()
    assert (adapter.sides.grad != 0).all()


def test_the_start_has_the_stated_variances():
    layer = nn.Conv2d(500, 8, (30, 2))
    adapter = adapt(layer, CPLoRA(rank=64), ["weight"]).adapters["weight"]
    for side, length in zip(adapter.sides.split([500, 30, 2]), (500, 30, 2), strict=True):
        assert side.std().item() == pytest.approx(length**-0.5, rel=0.2)


@pytest.mark.parametrize(
    ("build", "x"),
    [
        (lambda: nn.Linear(4, 6), draw(3, 2, 4)),
        (lambda: nn.Conv2d(4, 6, 1, stride=2), draw(2, 4, 5, 4)),
        (lambda: nn.Conv2d(4, 6, 1, groups=2), draw(2, 4, 5, 4)),
        (lambda: nn.Embedding(9, 4), torch.tensor([[0, 3, 8]])),
        (lambda: nn.Bilinear(3, 4, 2), draw(5, 3)),
    ],
    ids=["linear", "conv-1x1", "conv-1x1-grouped", "embedding", "stack"],
)
def test_without_kernel_sides_it_is_lora(build, x):
    method = CPLoRA(rank=1, alpha=3.0)
    layer, _, adapter = on(build(), method)
    twin = filled(build())
    plain = adapt(twin, LoRA(rank=1, alpha=3.0), ["weight"]).adapters["weight"]
    assert sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in adapter.parameters())
    with torch.no_grad():
        plain.left.copy_(adapter.out)
        plain.right.copy_(adapter.sides.mT)
    arguments = (x, draw(5, 4, seed=1)) if isinstance(layer, nn.Bilinear) else (x,)
    outputs = [one(*arguments) for one in (layer, twin)]
    assert_close(*outputs)
    for output in outputs:
        output.square().sum().backward()
    assert_close(adapter.out.grad, plain.left.grad)
    assert_close(adapter.sides.grad, plain.right.grad.mT)


def test_dropout_acts_on_the_input():
    assert_drops_its_input(CPLoRA(rank=2, dropout=0.5))


@pytest.mark.parametrize("name", ["settings", "grouped", "3d", "transposed"])
def test_merging_scaling_and_converting(name):
    build, x = CONVOLUTIONS[name]
    assert_merges_scales_and_converts(build(), METHOD, x, rank=2)


def test_no_kernel_is_made_in_a_step():
    layer, _, _ = on(nn.Conv2d(64, 48, 3), CPLoRA(rank=2))
    x = draw(1, 64, 4, 4)
    with Made() as made:
        layer(x).sum().backward()
    assert max(made.sizes) <= x.numel()
    assert 2 * 64 * 9 not in made.sizes


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
def test_a_base_in_half_precision(low):
    layer = nn.Conv2d(16, 8, 3).to(low)
    adapter = moved(adapt(layer, CPLoRA(rank=2), ["weight"])).adapters["weight"]
    x = draw(2, 16, 6, 5, dtype=low)
    output = layer(x)
    expected = F.conv2d(x.double(), layer.weight.double() + adapter.delta().double(), layer.bias.double())
    assert output.dtype == low
    assert adapter.out.dtype == torch.float32
    assert (output.double() - expected).norm() / expected.norm() < 4 * torch.finfo(low).eps


def test_a_rank_that_no_tensor_of_the_shape_needs_is_refused():
    adapt(nn.Conv2d(4, 6, 3), CPLoRA(rank=36), ["weight"])  # above min(out, in) of the matrix, and of use
    with pytest.raises(MethodError, match=r"rank 37 is above 36, the most outer products .* \[6, 4, 3, 3\]"):
        adapt(nn.Conv2d(4, 6, 3), CPLoRA(rank=37), ["weight"])


@pytest.mark.slow
def test_moves_a_segmentation_to_another_domain_as_full_fine_tuning_does():
    """The claim of `benchmarks/conv_family.py`, on one seed."""
    import conv_family  # noqa: PLC0415 - a benchmark script

    methods = {name: conv_family.METHODS[name] for name in ("CPLoRA(rank=2)", "CPLoRA(rank=8)")}
    results = conv_family.transfer(seed=0, steps=250, methods=methods)
    full, small, large = results["full fine-tuning"], results["CPLoRA(rank=2)"], results["CPLoRA(rank=8)"]
    assert results["not adapted"].dice < 0.1
    assert small.parameters < 0.05 * full.parameters
    assert small.dice > full.dice - 0.03
    assert large.dice > small.dice - 0.01
    assert small.dice > results["decoder alone"].dice

# SPDX-License-Identifier: Apache-2.0
"""FLoRA: the Tucker product, its three convolutions, its start, sizes, ranks and gauge, and its limits."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from random_layers import (
    assert_drops_its_input,
    assert_gradients_are_those_of,
    assert_merges_scales_and_converts,
    assert_starts_at_the_base_and_runs_as,
    draw,
    filled,
    on,
)
from rankwise import LoRA, MethodError, adapt
from rankwise.adapters.flora import FLoRA, FLoRAAdapter
from rankwise.testing import assert_close


def written_out(adapter: FLoRAAdapter) -> Tensor:
    """The Tucker product, one side after the other, in the order [in, out, kernel] and then turned round."""
    total = adapter.core
    for side in adapter.sides:
        total = torch.tensordot(total, side, dims=([0], [1]))
    return adapter.scaling * total.transpose(0, 1)


METHOD = FLoRA(rank=3, in_rank=2, scale=1.5)
LAYERS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "linear": (lambda: nn.Linear(6, 5), draw(4, 6)),
    "plain": (lambda: nn.Conv2d(4, 6, 3), draw(2, 4, 6, 5)),
    "unbatched": (lambda: nn.Conv2d(4, 6, 3, padding=1), draw(4, 6, 5)),
    "settings": (lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), draw(2, 4, 7, 6)),
    "grouped": (lambda: nn.Conv2d(4, 6, (2, 3), groups=2, stride=2), draw(2, 4, 7, 6)),
    "reflect": (lambda: nn.Conv2d(4, 6, 3, padding=(1, 2), padding_mode="reflect", stride=2), draw(2, 4, 7, 6)),
    "circular": (lambda: nn.Conv2d(4, 6, (3, 5), padding="same", padding_mode="circular"), draw(2, 4, 7, 6)),
    "replicate": (lambda: nn.Conv2d(4, 6, (3, 1), padding=(1, 2), padding_mode="replicate"), draw(2, 4, 7, 6)),
    "same": (lambda: nn.Conv2d(4, 6, (3, 5), padding="same", dilation=(2, 1)), draw(2, 4, 7, 6)),
    "one": (lambda: nn.Conv2d(4, 6, 1, stride=2, padding=1), draw(2, 4, 7, 6)),
    "one-grouped": (lambda: nn.Conv2d(4, 6, 1, groups=2), draw(2, 4, 7, 6)),
    "1d": (lambda: nn.Conv1d(6, 4, 4, groups=2, dilation=2), draw(2, 6, 9)),
    "3d": (lambda: nn.Conv3d(3, 4, (2, 3, 2), stride=(1, 2, 1), padding=1), draw(2, 3, 4, 5, 3)),
    "transposed": (
        lambda: nn.ConvTranspose2d(
            4, 6, (3, 2), stride=(2, 3), padding=(1, 0), output_padding=(1, 2), groups=2, dilation=(1, 2)
        ),
        draw(2, 4, 4, 3),
    ),
}
METHODS = {"one-grouped": FLoRA(rank=2, in_rank=1)}


def test_worked_example():
    _, _, adapter = on(nn.Conv1d(1, 2, 2), FLoRA(rank=1, kernel_ranks=(1,), scale=0.5))
    with torch.no_grad():
        adapter.core.fill_(2)
        for side, values in zip(adapter.sides, ([[3.0]], [[1.0], [-1.0]], [[1.0], [4.0]]), strict=True):
            side.copy_(torch.tensor(values))
    assert adapter.delta().tolist() == [[[3, 12]], [[-3, -12]]]


@pytest.mark.parametrize("name", LAYERS)
def test_value_and_gradients_are_those_of_the_tucker_product(name):
    build, x = LAYERS[name]
    method = METHODS.get(name, METHOD)
    assert_starts_at_the_base_and_runs_as(written_out, build(), x, method)
    assert_gradients_are_those_of(written_out, build(), x, method)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_three_convolutions_equal_one(data):
    """For any settings of a convolution, groups and padding modes included."""
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel, stride, dilation, padding = (data.draw(pair, label=n) for n in ("kernel", "stride", "dilation", "padding"))
    groups = data.draw(st.sampled_from([1, 2, 4]), label="groups")
    mode = data.draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]), label="mode")
    layer = nn.Conv2d(4, 8, kernel, stride, padding, dilation, groups, padding_mode=mode)
    layer, adaptation, adapter = on(layer, FLoRA(rank=1))
    x = draw(2, 4, 7, 8)
    output = layer(x)
    adaptation.merge()
    assert_close(output, layer(x))
    adaptation.unmerge()
    assert_close(adapter.delta(), written_out(adapter))


@pytest.mark.parametrize(
    ("build", "method", "count"),
    [
        (lambda: nn.Conv2d(24, 24, 5), FLoRA(rank=4, kernel_ranks=(2, 2)), 552 // 2),
        (lambda: nn.Conv2d(24, 24, 5), FLoRA(rank=6, kernel_ranks=(2, 2)), 904 // 2),
        (lambda: nn.Conv2d(24, 24, 5), FLoRA(rank=8), 1980 // 2),
        (lambda: nn.Linear(96, 96), FLoRA(rank=2), 1552 // 4),
        (lambda: nn.Conv3d(8, 4, (1, 2, 7)), FLoRA(rank=3, in_rank=5), 5 * 3 * 8 + 40 + 12 + 1 + 4 + 28),
        (lambda: nn.Conv2d(8, 8, 3, groups=8), FLoRA(rank=2), 2 * 4 + 1 + 16 + 12),
    ],
)
def test_parameter_counts(build, method, count):
    assert adapt(build(), method, ["weight"]).summary().trainable == count


def test_at_the_start_only_the_core_gets_a_gradient_and_then_every_side_does():
    layer = filled(nn.Conv2d(4, 6, 3))
    adaptation = adapt(layer, METHOD, ["weight"])
    adapter = adaptation.adapters["weight"]
    optimizer = torch.optim.SGD(adaptation.parameters(), lr=0.01)
    adaptation.attach(optimizer)
    for step in range(2):
        optimizer.zero_grad()
        layer(draw(2, 4, 6, 5)).square().sum().backward()
        assert (adapter.core.grad != 0).all()
        assert [bool((side.grad != 0).all()) for side in adapter.sides] == [step == 1] * 4
        optimizer.step()


def test_the_start_has_the_stated_variances():
    adapter = adapt(nn.Conv2d(300, 200, 3), FLoRA(rank=50, in_rank=20), ["weight"]).adapters["weight"]
    for side, rank in zip(adapter.sides, (20, 50), strict=False):
        assert side.std().item() == pytest.approx((0.5 / rank) ** 0.5, rel=0.05)
    assert not adapter.core.any()


def test_the_scale_without_one_is_four_on_kernels_and_two_elsewhere():
    build = (lambda: nn.Conv2d(4, 6, 1), lambda: nn.Linear(6, 5), lambda: nn.Embedding(9, 4))
    adapters = [adapt(one(), FLoRA(rank=2), ["weight"]).adapters["weight"] for one in build]
    assert [adapter.scaling for adapter in adapters] == [4, 2, 2]


def test_full_ranks_and_identities_make_the_core_the_update():
    layer, _, adapter = on(nn.Conv2d(4, 6, (3, 2)), FLoRA(rank=6, in_rank=4, kernel_ranks=(3, 2), scale=1.5))
    with torch.no_grad():
        for side in adapter.sides:
            side.copy_(torch.eye(len(side)))
    assert_close(adapter.delta(), 1.5 * adapter.core.transpose(0, 1))
    x = draw(2, 4, 5, 6)
    assert_close(layer(x), F.conv2d(x, layer.weight + 1.5 * adapter.core.transpose(0, 1), layer.bias))


@pytest.mark.parametrize(
    ("build", "x"),
    [(lambda: nn.Linear(7, 5), draw(3, 7)), (lambda: nn.Embedding(7, 5, padding_idx=2), torch.tensor([[0, 2, 6]]))],
    ids=["linear", "embedding"],
)
def test_a_core_of_the_identity_is_lora(build, x):
    layer, _, adapter = on(build(), FLoRA(rank=2, scale=1.5))
    twin = filled(build())
    plain = adapt(twin, LoRA(rank=2, alpha=3.0), ["weight"]).adapters["weight"]
    with torch.no_grad():
        adapter.core.copy_(torch.eye(2))
        plain.left.copy_(adapter.sides[1])
        plain.right.copy_(adapter.sides[0].mT)
    assert_close(layer(x), twin(x))


@pytest.mark.parametrize("ranks", [(1, 4), (4, 1), (3, 3)])
@pytest.mark.parametrize("sizes", [(6, 9), (9, 6)])
def test_the_core_joins_the_thinner_factor(ranks, sizes):
    layer, _, adapter = on(nn.Linear(*sizes), FLoRA(rank=ranks[1], in_rank=ranks[0], scale=1.5))
    left, right = adapter.factors()
    assert left.shape[-1] == right.shape[-2] == min(ranks)
    expected = 1.5 * adapter.sides[1] @ adapter.core.mT @ adapter.sides[0].mT
    assert_close(adapter.delta(), expected)
    assert_close(layer(draw(3, sizes[0])), F.linear(draw(3, sizes[0]), layer.weight + expected, layer.bias))


def test_every_unfolding_has_the_rank_of_its_side():
    _, _, adapter = on(nn.Conv2d(7, 8, (5, 6)), FLoRA(rank=3, in_rank=4, kernel_ranks=(2, 3)))
    unfolded = [adapter.delta().movedim(dim, 0).flatten(1) for dim in (1, 0, 2, 3)]
    assert [int(torch.linalg.matrix_rank(one)) for one in unfolded] == [4, 3, 2, 3]


def test_a_change_of_basis_within_a_side_leaves_the_update_alone():
    _, _, adapter = on(nn.Conv2d(7, 8, 5), FLoRA(rank=3, in_rank=4))
    before = adapter.delta().detach().clone()
    with torch.no_grad():
        for dim, side in enumerate(adapter.sides):
            rank = side.shape[1]
            change = 2 * torch.eye(rank, dtype=torch.float64) + 0.2 * draw(rank, rank, seed=dim)
            side.copy_(side @ change)
            turned = torch.tensordot(torch.linalg.inv(change), adapter.core, dims=([1], [dim]))
            adapter.core.copy_(turned.movedim(0, dim))
    assert_close(adapter.delta(), before)


def test_the_numerical_gradient_agrees():
    layer, adaptation, _ = on(nn.Conv2d(2, 3, 2, padding=1), FLoRA(rank=2))
    x = draw(1, 2, 3, 2).requires_grad_()
    names = [name for name, parameter in layer.named_parameters() if parameter.requires_grad]
    values = [parameter.detach().requires_grad_() for parameter in adaptation.parameters()]

    def run(x: Tensor, *tensors: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, tensors, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *values))


def test_dropout_acts_on_the_input():
    assert_drops_its_input(FLoRA(rank=2, dropout=0.5))


def test_merging_scaling_and_converting():
    assert_merges_scales_and_converts(nn.Conv2d(4, 6, 3, groups=2), METHOD, draw(2, 4, 6, 5), rank=3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": 0}, r"FLoRA\.rank must be at least 1, got 0"),
        ({"in_rank": 0}, r"FLoRA\.in_rank must be at least 1, got 0"),
        ({"kernel_ranks": (2, 0)}, r"FLoRA\.kernel_ranks must all be at least 1, got \[2, 0\]"),
        ({"scale": 0.0}, r"FLoRA\.scale must be above 0, got 0"),
        ({"dropout": 1.0}, r"FLoRA\.dropout must be in \[0, 1\), got 1"),
    ],
)
def test_fields_out_of_range_are_refused(fields, message):
    with pytest.raises(MethodError, match=message):
        FLoRA(**fields)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (FLoRA(rank=7), r"rank 7 is above min\(out, in\) = 6"),
        (FLoRA(rank=2, in_rank=5), r"in_rank 5 is above 4, .* \[4, 6, 3, 2\]"),
        (FLoRA(rank=2, kernel_ranks=(2, 3)), r"a kernel rank 3 is above 2, .* \[4, 6, 3, 2\]"),
        (FLoRA(rank=2, kernel_ranks=(2,)), r"kernel_ranks \[2\] are 1, but the kernel .* has 2 sides, \[3, 2\]"),
    ],
)
def test_ranks_that_do_not_fit_are_refused(method, message):
    with pytest.raises(MethodError, match=message):
        adapt(nn.Conv2d(4, 6, (3, 2)), method, ["weight"])


@pytest.mark.slow
def test_moves_a_segmentation_to_another_domain_with_half_of_the_parameters_of_lora():
    """The transfer of `benchmarks/conv_family.py`, on one seed."""
    import conv_family  # noqa: PLC0415 - a benchmark script

    methods = {"FLoRA(rank=2)": FLoRA(rank=2), "LoRA(rank=1)": LoRA(rank=1, alpha=2)}
    results = conv_family.transfer(seed=0, steps=250, methods=methods)
    mine, lora, full = results["FLoRA(rank=2)"], results["LoRA(rank=1)"], results["full fine-tuning"]
    assert results["not adapted"].dice < 0.1
    assert mine.parameters < 0.56 * lora.parameters
    assert mine.dice > lora.dice - 0.03
    assert mine.dice > full.dice - 0.03

# SPDX-License-Identifier: Apache-2.0
"""ConvLoRA: two convolutions in a row, groups with channels of their own, its limit LoRA, and what it refuses."""

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
from rankwise import LoRA, MethodError, TargetError, adapt
from rankwise.adapters.convlora import ConvLoRA, ConvLoRAAdapter
from rankwise.testing import assert_close

METHOD = ConvLoRA(rank=2, alpha=3.0)
CONVOLUTIONS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "plain": (lambda: nn.Conv2d(4, 6, 3), draw(2, 4, 6, 5)),
    "unbatched": (lambda: nn.Conv2d(4, 6, 3, padding=1), draw(4, 6, 5)),
    "settings": (lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), draw(2, 4, 7, 6)),
    "grouped": (lambda: nn.Conv2d(4, 6, (2, 3), groups=2, stride=2), draw(2, 4, 7, 6)),
    "grouped-reflect": (
        lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2, dilation=(1, 2), padding_mode="reflect"),
        draw(2, 4, 7, 6),
    ),
    "reflect": (lambda: nn.Conv2d(4, 6, 3, padding=(1, 2), padding_mode="reflect", stride=2), draw(2, 4, 7, 6)),
    "same": (lambda: nn.Conv2d(4, 6, (3, 5), padding="same", dilation=(2, 1)), draw(2, 4, 7, 6)),
    "one": (lambda: nn.Conv2d(4, 6, 1, stride=2, padding=1), draw(2, 4, 7, 6)),
    "1d": (lambda: nn.Conv1d(6, 4, 4, groups=2, dilation=2), draw(2, 6, 9)),
    "3d": (lambda: nn.Conv3d(3, 4, (2, 3, 2), stride=(1, 2, 1), padding=1), draw(2, 3, 4, 5, 3)),
    "3d-one": (lambda: nn.Conv3d(3, 4, 1), draw(2, 3, 4, 5, 3)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1), draw(2, 4, 4, 3)),
    "transposed-grouped": (
        lambda: nn.ConvTranspose2d(4, 6, (3, 2), stride=(2, 3), padding=(1, 0), output_padding=(1, 2), groups=2),
        draw(2, 4, 4, 3),
    ),
}


def dense(adapter: ConvLoRAAdapter) -> Tensor:
    """The kernel of the update by its definition, output channel by output channel."""
    left, right, groups = adapter.left, adapter.right, adapter.target.groups
    share, filters = right.shape[0] // groups, len(left) // groups
    rows = [left[o] @ right[o // filters * share : (o // filters + 1) * share] for o in range(len(left))]
    return adapter.scaling * torch.stack(rows).reshape(adapter.target.shape)


def test_worked_example():
    layer = nn.Conv2d(2, 2, 1).double()
    adapter = adapt(layer, ConvLoRA(rank=1, alpha=1.0), ["weight"]).adapters["weight"]
    with torch.no_grad():
        adapter.right.copy_(torch.tensor([[1.0, -1.0]]))
        adapter.left.copy_(torch.tensor([[2.0], [0.0]]))
    assert adapter.delta().flatten(1).tolist() == [[2, -2], [0, 0]]


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_starts_at_the_base_and_runs_as_the_formula(name):
    build, x = CONVOLUTIONS[name]
    assert_starts_at_the_base_and_runs_as(dense, build(), x, METHOD)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_gradients_are_those_of_the_dense_kernel(name):
    build, x = CONVOLUTIONS[name]
    assert_gradients_are_those_of(dense, build(), x, METHOD)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([1, 2, 3]), st.integers(1, 2), st.tuples(st.integers(1, 3), st.integers(1, 3)), st.booleans())
def test_two_convolutions_in_a_row_are_the_update(groups, share, kernel, transposed):
    """The definition: conv with the layer's settings to `rank` channels, then a grouped 1x1 convolution."""
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    layer = kind(6, 12, kernel, stride=2, padding=0, groups=groups)
    layer, adaptation, adapter = on(layer, ConvLoRA(rank=groups * share, alpha=3.0))
    x = draw(2, 6, 7, 8)
    with adaptation.disabled():
        base = layer(x)
    first = adapter.right.reshape(groups * share, -1, *kernel)
    if transposed:
        stored = first.reshape(groups, share, -1, *kernel).transpose(1, 2).reshape(-1, share, *kernel)
        bottleneck = F.conv_transpose2d(x, stored, stride=2, groups=groups)
    else:
        bottleneck = F.conv2d(x, first, stride=2, groups=groups)
    branch = F.conv2d(bottleneck, adapter.left[..., None, None], groups=groups)
    assert_close(layer(x), base + adapter.scaling * branch)


def test_the_channels_of_a_group_act_on_its_own_filters_alone():
    _, _, adapter = on(nn.Conv2d(4, 6, 3, groups=2), METHOD)
    before = adapter.delta().detach()
    with torch.no_grad():
        adapter.right[1:] += 1
    change = (adapter.delta() - before).flatten(1).norm(dim=1)
    assert (change[:3] == 0).all()
    assert (change[3:] > 0.01).all()


def test_without_groups_it_is_lora_from_the_same_start():
    x, layers, adapters = draw(2, 4, 7, 6), [], []
    for method in (ConvLoRA(rank=3, alpha=5.0), LoRA(rank=3, alpha=5.0)):
        layers.append(filled(nn.Conv2d(4, 6, (3, 2), stride=2)))
        adapters.append(adapt(layers[-1], method, ["weight"]).adapters["weight"])
        with torch.no_grad():
            adapters[-1].left.copy_(draw(6, 3))
    assert torch.equal(adapters[0].right, adapters[1].right)
    outputs = [layer(x) for layer in layers]
    assert torch.equal(*outputs)
    for output in outputs:
        output.square().sum().backward()
    for name in ("left", "right"):
        assert torch.equal(*(getattr(adapter, name).grad for adapter in adapters))


@pytest.mark.parametrize(
    ("build", "rank", "count"),
    [
        (lambda: nn.Conv2d(16, 16, 3), 2, 320),
        (lambda: nn.Conv3d(8, 4, (3, 2, 5)), 3, 3 * (8 * 30 + 4)),
        (lambda: nn.Conv2d(16, 8, 3, groups=4), 4, 4 * 4 * 9 + 8),
    ],
)
def test_parameter_counts(build, rank, count):
    assert adapt(build(), ConvLoRA(rank=rank), ["weight"]).summary().trainable == count


def test_the_unfolded_update_has_at_most_its_rank():
    _, _, adapter = on(nn.Conv2d(8, 9, 3), ConvLoRA(rank=3))
    assert torch.linalg.matrix_rank(adapter.delta().flatten(1)) == 3


@pytest.mark.parametrize("groups", [1, 2])
def test_dropout_acts_on_the_input(groups):
    assert_drops_its_input(ConvLoRA(rank=2, dropout=0.5), groups)


@pytest.mark.parametrize("name", ["settings", "grouped", "3d", "transposed-grouped"])
def test_merging_scaling_and_converting(name):
    build, x = CONVOLUTIONS[name]
    assert_merges_scales_and_converts(build(), METHOD, x, rank=4)


def test_layers_that_are_no_convolutions_are_refused():
    for layer in (nn.Linear(4, 6), nn.Embedding(4, 6), nn.Bilinear(3, 4, 2)):
        with pytest.raises(TargetError, match=r"'weight' is no convolution, and ConvLoRA .* use LoRA there"):
            adapt(layer, METHOD, ["weight"])


def test_depthwise_layers_are_refused():
    with pytest.raises(TargetError, match=r"is depthwise \(4 groups of one input channel\)"):
        adapt(nn.Conv2d(4, 8, 3, groups=4), ConvLoRA(rank=4), ["weight"])


def test_ranks_that_do_not_fit_are_refused():
    with pytest.raises(MethodError, match=r"rank 3 does not divide evenly into the 2 groups .* a multiple of 2"):
        adapt(nn.Conv2d(4, 6, 3, groups=2), ConvLoRA(rank=3), ["weight"])
    adapt(nn.Conv2d(4, 6, 3, groups=2), ConvLoRA(rank=6), ["weight"])
    with pytest.raises(MethodError, match=r"rank 8 is above min\(out, groups \* in\) = 6 .* \(6 x 18 in 2 groups\)"):
        adapt(nn.Conv2d(4, 6, 3, groups=2), ConvLoRA(rank=8), ["weight"])

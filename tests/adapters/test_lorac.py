# SPDX-License-Identifier: Apache-2.0
"""LoRAC: the row-by-row view, its size and rank, its gradients, and what it refuses."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from random_layers import (
    assert_drops_its_input,
    assert_gradients_are_those_of,
    assert_merges_scales_and_converts,
    assert_starts_at_the_base_and_runs_as,
    draw,
    moved,
    on,
)
from rankwise import MethodError, TargetError, adapt
from rankwise.adapters.lorac import LoRAC, LoRACAdapter
from rankwise.testing import TOLERANCE, assert_close

METHOD = LoRAC(rank=2, alpha=3.0)
CONVOLUTIONS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "plain": (lambda: nn.Conv2d(4, 6, 3), draw(2, 4, 6, 5)),
    "settings": (lambda: nn.Conv2d(4, 6, 2, stride=(2, 1), padding=(1, 0), dilation=(1, 2)), draw(2, 4, 7, 6)),
    "reflect": (lambda: nn.Conv2d(4, 6, 3, padding=(1, 2), padding_mode="reflect", stride=2), draw(2, 4, 7, 6)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2, stride=2), draw(2, 4, 7, 6)),
    "one": (lambda: nn.Conv2d(4, 6, 1, stride=2), draw(2, 4, 7, 6)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, output_padding=1), draw(2, 4, 4, 3)),
}


def dense(adapter: LoRACAdapter) -> Tensor:
    """Entry by entry: position p of the flattened kernel is entry (p // width, p mod width) of s B A."""
    width = adapter.right.shape[1]
    entries = torch.arange(torch.Size(adapter.target.shape).numel())
    rows, columns = adapter.left[entries // width], adapter.right[:, entries % width].T
    return adapter.scaling * (rows * columns).sum(-1).reshape(adapter.target.shape)


def test_worked_example():
    adapter = adapt(nn.Conv2d(2, 1, 2).double(), LoRAC(rank=1, alpha=1.0), ["weight"]).adapters["weight"]
    with torch.no_grad():
        adapter.right.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]))
        adapter.left.copy_(torch.eye(2))
    assert adapter.delta().tolist() == [[[[1, 2], [3, 4]], [[5, 6], [7, 8]]]]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.data())
def test_rows_of_the_product_end_to_end_are_the_filters(out, inside, side, data):
    rank = data.draw(st.integers(1, min(out, inside)))
    _, _, adapter = on(nn.Conv2d(inside, out, side), LoRAC(rank=rank, alpha=2.0 * rank))
    product, delta = 2 * adapter.left @ adapter.right, adapter.delta()
    assert adapter.right.shape == (rank * side, inside * side)
    assert adapter.left.shape == (out * side, rank * side)
    for o in range(out):
        assert_close(delta[o].flatten(), product[o * side : (o + 1) * side].flatten())


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_starts_at_the_base_and_runs_as_the_formula(name):
    build, x = CONVOLUTIONS[name]
    assert_starts_at_the_base_and_runs_as(dense, build(), x, METHOD)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_gradients_are_those_of_the_dense_kernel(name):
    build, x = CONVOLUTIONS[name]
    assert_gradients_are_those_of(dense, build(), x, METHOD)


def test_the_start_is_uniform_within_the_bound_of_the_matrix():
    adapter = adapt(nn.Conv2d(32, 32, 3), LoRAC(rank=16), ["weight"]).adapters["weight"]
    bound = (32 * 3) ** -0.5
    assert not adapter.left.any()
    assert adapter.right.abs().max() <= bound
    assert adapter.right.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


@pytest.mark.parametrize(
    ("build", "rank", "count"),
    [
        (lambda: nn.Conv2d(16, 16, 3), 2, 576),
        (lambda: nn.Conv2d(8, 12, 5), 3, 3 * 25 * (8 + 12)),
        (lambda: nn.Conv2d(8, 12, 3, groups=4), 2, 2 * 9 * (8 + 3)),
    ],
)
def test_parameter_counts(build, rank, count):
    assert adapt(build(), LoRAC(rank=rank), ["weight"]).summary().trainable == count


@pytest.mark.parametrize("rank", [1, 2])
def test_one_rank_is_k_squared_ordinary_ones(rank):
    _, _, adapter = on(nn.Conv2d(24, 24, 3), LoRAC(rank=rank))
    assert torch.linalg.matrix_rank(adapter.delta().flatten(1)) == 9 * rank


def test_dropout_acts_on_the_input():
    assert_drops_its_input(LoRAC(rank=2, dropout=0.5))


def test_merging_scaling_and_converting():
    assert_merges_scales_and_converts(nn.Conv2d(4, 6, 3, groups=2), METHOD, draw(2, 4, 6, 5), rank=6)


def test_autocast_builds_the_kernel_in_full_precision():
    layer = nn.Conv2d(8, 8, 3)
    adapter = moved(adapt(layer, METHOD, ["weight"])).adapters["weight"]
    expected = adapter.delta()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(adapter.delta(), expected)
        assert layer(draw(2, 8, 6, 5, dtype=torch.float32)).dtype == torch.bfloat16
    assert (
        TOLERANCE[torch.float32][0]
        < (adapter.left.bfloat16() @ adapter.right.bfloat16()).float().sub(adapter.left @ adapter.right).abs().max()
    )


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Linear(4, 6), "'weight' is no convolution, and LoRAC .* use LoRA there"),
        (nn.Conv2d(4, 6, (3, 2)), "a kernel of 3 x 2, and LoRAC is defined on square kernels .* use ConvLoRA there"),
        (nn.Conv1d(4, 6, 3), "a kernel of 3, and LoRAC"),
        (nn.Conv3d(4, 6, 3), "a kernel of 3 x 3 x 3, and LoRAC"),
    ],
    ids=["linear", "not-square", "1d", "3d"],
)
def test_other_kernels_are_refused(layer, message):
    with pytest.raises(TargetError, match=message):
        adapt(layer, METHOD, ["weight"])


def test_a_rank_beyond_the_product_is_refused():
    adapt(nn.Conv2d(8, 6, 3, groups=2), LoRAC(rank=3), ["weight"])
    with pytest.raises(MethodError, match=r"rank 4 is above min\(out / groups, in\) = 3 .* ranks=\{'weight': 3\}"):
        adapt(nn.Conv2d(8, 6, 3, groups=2), LoRAC(rank=4), ["weight"])

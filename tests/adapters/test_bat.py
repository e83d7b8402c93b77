# SPDX-License-Identifier: Apache-2.0
"""Bat: the blocks written out, its gradients, every kind of layer, what is saved, what it refuses."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from random_layers import draw, filled, moved
from rankwise import MethodError, adapt
from rankwise.adapters.bat import Bat
from rankwise.core.method import Method
from rankwise.testing import assert_close


def one(method: Method, out: int = 6, in_features: int = 9):
    model = nn.Sequential(filled(nn.Linear(in_features, out)))
    adaptation = moved(adapt(model, method, ["0"]))
    return model, adaptation, adaptation.adapters["0"]


def written_out(weight: Tensor, blocks: Tensor) -> Tensor:
    """The adapted weight, block after block."""
    rank, result = blocks.shape[-1], weight.clone()
    for p in range(weight.shape[0] // rank):
        for q in range(weight.shape[1] // rank):
            rows, cols = slice(p * rank, (p + 1) * rank), slice(q * rank, (q + 1) * rank)
            result[rows, cols] = weight[rows, cols] @ (torch.eye(rank) + blocks[p]) + blocks[p]
    return result


@settings(max_examples=25, deadline=None)  # the first merge in a process is slow
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4))
def test_the_weight_is_the_formula_and_the_layer_uses_it(p: int, q: int, rank: int) -> None:
    model, adaptation, adapter = one(Bat(rank=rank), p * rank, q * rank)
    base, x = model[0].weight.detach().clone(), draw(3, 2, q * rank, seed=8)
    expected = written_out(base, adapter.blocks.detach())
    assert adaptation.summary().trainable == p * rank * rank
    output = model(x)
    assert_close(output, x @ expected.t() + model[0].bias)
    adaptation.merge()
    assert_close(model[0].weight, expected)
    adaptation.unmerge()
    assert torch.equal(model[0].weight, base)


def test_gradients_are_those_of_the_dense_weight() -> None:
    model, _, adapter = one(Bat(rank=3))
    x, weights = draw(5, 9, seed=8).requires_grad_(), draw(5, 6, seed=9)
    (model(x) * weights).sum().backward()
    blocks = adapter.blocks.detach().requires_grad_()
    y = x.detach().requires_grad_()
    ((y @ written_out(model[0].weight.detach(), blocks).t()) * weights).sum().backward()
    assert_close(adapter.blocks.grad, blocks.grad)
    assert_close(x.grad, y.grad)


def test_second_derivatives_go_through_the_recomputed_change() -> None:
    model, _, adapter = one(Bat(rank=3))
    x = draw(2, 9, seed=8).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda *_: model(x).sin(), (x, adapter.blocks))


def test_no_tensor_of_the_weight_s_size_is_kept_for_the_backward_pass() -> None:
    model, _, _ = one(Bat(rank=3), 60, 90)
    kept: list[tuple[int, ...]] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(tuple(t.shape)), t)[1], lambda t: t):
        model(draw(4, 90).requires_grad_())
    weights = [shape for shape in kept if sorted(shape) == [60, 90]]
    assert len(weights) == 1  # the frozen layer's own weight
    assert (20, 3, 3) in kept


LAYERS = {
    "linear": (lambda: nn.Linear(8, 6), draw(4, 3, 8)),
    "conv": (lambda: nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=1), draw(2, 4, 6, 5)),
    "conv-grouped": (lambda: nn.Conv1d(8, 4, 3, groups=2), draw(2, 8, 8)),
    "conv-transposed": (lambda: nn.ConvTranspose1d(4, 6, 3, stride=2), draw(2, 4, 5)),
    "embedding": (lambda: nn.Embedding(8, 4, padding_idx=3), torch.tensor([[0, 3, 7], [3, 1, 5]])),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_the_layer_computes_with_the_delta(layer: str) -> None:
    build, x = LAYERS[layer]
    model = nn.Sequential(filled(build()))
    adaptation = moved(adapt(model, Bat(rank=2), ["0"]))
    output = model(x)
    with adaptation.disabled():
        assert not torch.allclose(model(x), output)
    adaptation.merge()
    assert_close(model(x), output)


def test_each_matrix_of_a_stack_is_transformed_by_its_own_blocks() -> None:
    model = nn.ParameterDict({"up_proj": nn.Parameter(draw(3, 4, 6))})
    adapter = moved(adapt(model, Bat(rank=2), ["up_proj"])).adapters["up_proj"]
    expected = [written_out(w, d) - w for w, d in zip(draw(3, 4, 6), adapter.blocks.detach(), strict=True)]
    assert_close(adapter.delta(), torch.stack(expected))


def test_it_starts_at_the_base_to_the_bit_and_draws_nothing() -> None:
    model, x = nn.Sequential(filled(nn.Linear(9, 6))), draw(4, 9)
    expected, state = model(x), torch.get_rng_state()
    adapt(model, Bat(rank=3), ["0"])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(model(x), expected)


def test_the_change_has_full_rank() -> None:
    _, adaptation, adapter = one(Bat(rank=2), 6, 10)
    assert adaptation.summary().trainable == 12
    assert torch.linalg.matrix_rank(adapter.delta()) == 6


def test_a_merged_weight_is_undone_by_the_inverse_too() -> None:
    """W0_pq = (W_pq - D_p) (I + D_p)^-1."""
    model, adaptation, adapter = one(Bat(rank=3))
    base = model[0].weight.detach().clone()
    blocks = adapter.blocks.detach()
    blocks.mul_(0.4 / torch.linalg.matrix_norm(blocks, 2).max())
    adaptation.merge()
    rows = model[0].weight.detach().unflatten(0, (2, 3)).unflatten(-1, (3, 3)) - blocks[:, :, None]
    inverse = torch.linalg.inv(torch.eye(3) + blocks)
    assert_close(torch.einsum("paqb,pbc->paqc", rows, inverse).reshape(6, 9), base)


def test_a_rank_below_one_is_refused() -> None:
    with pytest.raises(MethodError, match="at least 1"):
        Bat(rank=0)


@pytest.mark.parametrize(("out", "in_features"), [(12, 18), (18, 12)])
def test_a_rank_that_does_not_divide_names_those_that_do(out: int, in_features: int) -> None:
    with pytest.raises(MethodError, match=r"rank 4 does not divide both sides .* are 1, 2, 3, 6\. .*ranks=\{'0': 6\}"):
        one(Bat(rank=4), out, in_features)
    model = nn.Sequential(filled(nn.Linear(in_features, out)))
    assert adapt(model, Bat(rank=4), ["0"], ranks={"0": 6}).summary().trainable == out * 6

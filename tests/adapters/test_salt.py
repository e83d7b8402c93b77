# SPDX-License-Identifier: Apache-2.0
"""SALT: the formula written out, its gradients, both starts, the penalty, sizes, what a checkpoint keeps."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from random_layers import draw, filled, moved
from rankwise import LoRA, MethodError, adapt, load
from rankwise.adapters.salt import SALT, SALTAdapter
from rankwise.core.method import Method
from rankwise.testing import assert_close


def one(method: Method, out: int = 6, in_features: int = 8):
    model = nn.Sequential(filled(nn.Linear(in_features, out)))
    adaptation = adapt(model, method, ["0"])
    return model, adaptation, adaptation.adapters["0"]


def written_out(adapter: SALTAdapter, relu: bool) -> Tensor:
    """The adapted weight as published: U relu(C) V."""
    rank = adapter.rank
    core = adapter.s.diag()
    if adapter.scale_change is not None:
        top = (1 + adapter.scale_change) * adapter.s[:rank] + adapter.shift
        core = torch.block_diag(top.diag(), core[rank:, rank:])
    if adapter.left is not None:
        core = core + F.pad(adapter.left @ adapter.right, (rank, 0, rank, 0))
    return adapter.u @ (core.relu() if relu else core) @ adapter.v


@settings(max_examples=25, deadline=None)  # the first merge in a process is slow
@given(st.integers(1, 6), st.integers(1, 6), st.booleans(), st.data())
def test_the_weight_is_the_formula_and_the_layer_uses_it(
    out: int, in_features: int, relu: bool, data: st.DataObject
) -> None:
    k = min(out, in_features)
    rank, width = data.draw(st.integers(0, k)), data.draw(st.integers(0, 3))
    if rank + min(width, k - rank) == 0:
        return
    model, adaptation, adapter = one(SALT(rank=rank, tail_rank=width, relu=relu), out, in_features)
    assert adaptation.summary().trainable == 2 * rank + 2 * width * (k - rank)
    moved(adaptation, 1.5)
    base, expected = model[0].weight.detach().clone(), written_out(adapter, relu).detach()
    for tokens in (2, 40):  # by factors and as one matrix
        x = draw(tokens, in_features, seed=8)
        assert_close(model(x), x @ expected.t() + model[0].bias)
    adaptation.merge()
    assert_close(model[0].weight, expected)
    adaptation.unmerge()
    assert torch.equal(model[0].weight, base)


LAYERS = {
    "linear": (lambda: nn.Linear(7, 6), draw(4, 3, 7)),
    "conv": (lambda: nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=1), draw(2, 4, 6, 5)),
    "conv-many-positions": (lambda: nn.Conv1d(4, 6, 3), draw(2, 4, 90)),
    "conv-grouped": (lambda: nn.Conv1d(6, 4, 3, groups=2), draw(2, 6, 8)),
    "embedding": (lambda: nn.Embedding(9, 4, padding_idx=3), torch.tensor([[0, 3, 8], [3, 1, 5]])),
}


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("layer", LAYERS)
def test_the_layer_computes_with_the_delta(layer: str, relu: bool) -> None:
    build, x = LAYERS[layer]
    model = nn.Sequential(filled(build()))
    adaptation = moved(adapt(model, SALT(rank=2, tail_rank=2, relu=relu), ["0"]))
    output = model(x)
    with adaptation.disabled():
        assert not torch.allclose(model(x), output)
    adaptation.merge()
    assert_close(model(x), output)


def test_the_choice_between_factors_and_one_matrix_changes_no_number() -> None:
    model, adaptation, adapter = one(SALT(rank=2))
    moved(adaptation)
    x = draw(40, 8)
    assert adapter._dense_is_cheaper(x, model(x), 6) and not adapter._dense_is_cheaper(x[:2], model(x[:2]), 6)
    assert not adapter._dense_is_cheaper(x, model(x), 2)  # cheaper by factors at any number of tokens
    assert_close(model(x)[:2], model(x[:2]))


@pytest.mark.parametrize("relu", [True, False])
def test_gradients_are_those_of_the_published_form(relu: bool) -> None:
    model, adaptation, adapter = one(SALT(rank=2, tail_rank=2, relu=relu))
    moved(adaptation, 1.5)
    named = dict(adapter.named_parameters())
    x, weights = draw(5, 8, seed=8).requires_grad_(), draw(5, 6, seed=9)
    found = torch.autograd.grad((model(x) * weights).sum(), [x, *named.values()])
    dense = F.linear(x, written_out(adapter, relu), model[0].bias)
    expected = torch.autograd.grad((dense * weights).sum(), [x, *named.values()])
    for actual, wanted in zip(found, expected, strict=True):
        assert_close(actual, wanted)
    assert torch.autograd.gradcheck(lambda *_: model(x), list(named.values()))


def test_at_the_start_relu_lets_only_the_diagonal_learn() -> None:
    """Entries beside the diagonal sit at exactly 0, where relu has no gradient."""
    for relu in (True, False):
        model, _, adapter = one(SALT(rank=2, tail_rank=3, relu=relu))
        x, weights = draw(5, 8, seed=8), draw(5, 6, seed=9)
        (model(x) * weights).sum().backward()
        core = (adapter.u.t() @ (weights.t() @ x) @ adapter.v.t())[2:, 2:]
        assert_close(adapter.right.grad, adapter.left.detach().t() @ (core.diagonal().diag() if relu else core))
        assert not adapter.left.grad.any()


@pytest.mark.parametrize("relu", [True, False])
def test_the_identity_start_is_the_base_to_the_bit(relu: bool) -> None:
    model, x = nn.Sequential(filled(nn.Linear(8, 6), torch.float32)), draw(4, 8, dtype=torch.float32)
    expected = model(x)
    adapter = adapt(model, SALT(rank=2, tail_rank=2, relu=relu), ["0"]).adapters["0"]
    assert torch.equal(model(x), expected)
    assert not adapter.delta().any()
    assert not adapter.right.any() and 1.0 < adapter.left.abs().max() <= 3**0.5


def test_the_start_of_sam_is_normal_and_moves_the_function() -> None:
    model, x = nn.Sequential(filled(nn.Linear(64, 64))), draw(4, 64)
    expected = model(x)
    adapter = adapt(model, SALT(rank=14, tail_rank=100, init="sam"), ["0"]).adapters["0"]
    for start in (adapter.left, adapter.right):
        assert start.shape in ((50, 100), (100, 50))
        assert abs(float(start.detach().std()) / 0.01 - 1) < 0.03  # 5000 numbers
    assert not torch.equal(adapter.left.t(), adapter.right)
    assert not torch.allclose(model(x), expected)
    assert_close(adapter.delta(), written_out(adapter, True) - model[0].weight)


def test_relu_keeps_the_core_non_negative() -> None:
    model, adaptation, adapter = one(SALT(rank=3, tail_rank=2))
    with torch.no_grad():
        adapter.scale_change.fill_(-2.0)
        adapter.left.fill_(1.0)
        adapter.right.fill_(-50.0)
    adaptation.merge()
    assert_close(model[0].weight, torch.zeros(6, 8))


def test_trained_scale_is_one_plus_what_is_stored() -> None:
    model, _, adapter = one(SALT(rank=6, tail_rank=0))
    with torch.no_grad():
        adapter.scale_change.fill_(0.5)
        adapter.shift.fill_(0.25)
    singular = torch.linalg.svdvals((model[0]._parameters["weight"] + adapter.delta()).detach())
    assert_close(singular, 1.5 * adapter.s + 0.25)


def test_the_default_takes_half_of_the_singular_values_and_ranks_sets_them_by_layer() -> None:
    model = nn.Sequential(filled(nn.Linear(9, 7)), filled(nn.Linear(7, 4)))
    adaptation = adapt(model, SALT(), ["0", "1"])
    assert [adapter.rank for adapter in adaptation.adapters.values()] == [3, 2]
    adaptation.remove()
    adaptation = adapt(model, SALT(), ["0", "1"], ranks={"1": 4})
    assert adaptation.summary().trainable == (2 * 3 + 2 * 8 * 4) + 2 * 4


def test_the_penalty_is_the_sum_of_both_norms_and_has_a_gradient_at_zero() -> None:
    model = nn.Sequential(filled(nn.Linear(8, 6)), filled(nn.Linear(6, 5)))
    adaptation = adapt(model, SALT(rank=2, tail_rank=2, penalty_weight=0.01), ["0", "1"])
    start = adaptation.penalty()
    start.backward()
    assert_close(start.detach(), torch.zeros(()))
    assert all(not p.grad.any() for p in adaptation.parameters())  # and none is not a number
    moved(adaptation)
    expected = 0.0
    for adapter in adaptation.adapters.values():
        s = adapter.s[:2]
        expected += ((1 + adapter.scale_change) * s + adapter.shift - s).square().sum().sqrt()
        expected += (adapter.left @ adapter.right).square().sum().sqrt()
    assert_close(adaptation.penalty(), 0.01 * expected)


def test_each_matrix_of_a_stack_has_its_own_core() -> None:
    model = nn.ParameterDict({"up_proj": nn.Parameter(draw(3, 4, 6))})
    adapter = moved(adapt(model, SALT(rank=2, tail_rank=2), ["up_proj"])).adapters["up_proj"]
    for i, weight in enumerate(draw(3, 4, 6)):
        single = nn.Sequential(nn.Linear(6, 4, bias=False).double())
        with torch.no_grad():
            single[0].weight.copy_(weight)
        twin = adapt(single, SALT(rank=2, tail_rank=2), ["0"]).adapters["0"]
        with torch.no_grad():
            for name, parameter in twin.named_parameters():
                parameter.copy_(adapter.get_parameter(name)[i])
        assert_close(adapter.delta()[i], twin.delta())


def test_a_checkpoint_keeps_the_decomposition(tmp_path: Path) -> None:
    """Flipped pairs of singular vectors, as another machine may compute them, must not change the function."""
    model, adaptation, adapter = one(SALT(rank=2, tail_rank=2))
    moved(adaptation)
    with torch.no_grad():
        sign = torch.tensor([1.0, -1.0, 1.0, -1.0, -1.0, 1.0])
        adapter.u.mul_(sign)
        adapter.v.mul_(sign[:, None])
    adaptation.save(tmp_path)
    tensors = load_file(tmp_path / "adapter.safetensors")
    assert sorted(tensors) == [f"0:{name}" for name in ("left", "right", "s", "scale_change", "shift", "u", "v")]
    fresh, x = nn.Sequential(filled(nn.Linear(8, 6))), draw(4, 8)
    again = load(fresh, tmp_path).adapters["0"]
    assert torch.equal(again.u, adapter.u) and torch.equal(again.v, adapter.v)
    assert torch.equal(fresh(x), model(x))
    with torch.no_grad():
        adapter.u.mul_(sign)
        adapter.v.mul_(sign[:, None])
    assert not torch.allclose(model(x), fresh(x))  # in the other signs it is another function


def test_loading_decomposes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, adaptation, _ = one(SALT(rank=2, tail_rank=2))
    moved(adaptation).save(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a decomposition was computed")

    monkeypatch.setattr(torch.linalg, "svd", refuse)
    fresh, x = nn.Sequential(filled(nn.Linear(8, 6))), draw(4, 8)
    load(fresh, tmp_path)
    assert torch.equal(fresh(x), model(x))


def test_signs_are_fixed_and_the_vectors_still_decompose_the_weight() -> None:
    model, _, adapter = one(SALT())
    assert_close((adapter.u * adapter.s) @ adapter.v, model[0].weight)
    assert_close(adapter.s, torch.linalg.svdvals(model[0].weight.detach()))
    assert bool((adapter.v.max(-1).values == adapter.v.abs().max(-1).values).all())
    model, _, flipped = one(SALT())
    with torch.no_grad():
        model[0].weight.neg_()
    negated = adapt(nn.Sequential(model[0]), SALT(), ["0"], name="negated").adapters["0"]
    assert_close(negated.v, flipped.v)


@pytest.mark.parametrize("relu", [True, False])
def test_conversion_to_lora_of_full_width_is_exact(relu: bool) -> None:
    model, adaptation, _ = one(SALT(rank=2, tail_rank=2, relu=relu))
    moved(adaptation)
    x = draw(4, 8)
    expected = model(x)
    conversion = adaptation.convert(LoRA(rank=6 if relu else 4, alpha=4))
    assert max(conversion.relative_error.values()) < 1e-10
    assert_close(model(x), expected)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": -1}, "at least 0"),
        ({"tail_rank": -1}, "at least 0"),
        ({"penalty_weight": -0.1}, "at least 0"),
        ({"rank": 0, "tail_rank": 0}, "nothing to train"),
    ],
)
def test_wrong_fields_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        SALT(**fields)


def test_a_rank_above_the_weight_is_refused() -> None:
    with pytest.raises(MethodError, match=r"rank 7 is above min\(out, in\) = 6"):
        one(SALT(rank=7))


def test_a_weight_that_leaves_nothing_to_train_is_refused() -> None:
    with pytest.raises(MethodError, match="single singular value"):
        one(SALT(tail_rank=0), 1, 8)

# SPDX-License-Identifier: Apache-2.0
"""Bone: the tiled formula, LoRA with a tiled identity, every kind of layer, what it refuses."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from random_layers import draw, filled, moved
from rankwise import LoRA, MethodError, adapt, load
from rankwise.adapters.bone import Bone, folded
from rankwise.core.method import Method
from rankwise.linalg.divisors import divisors
from rankwise.testing import assert_close


def one(method: Method, out: int = 6, in_features: int = 7):
    model = nn.Sequential(filled(nn.Linear(in_features, out)))
    adaptation = moved(adapt(model, method, ["0"]))
    return model, adaptation, adaptation.adapters["0"]


@settings(max_examples=30, deadline=None)  # the first merge in a process is slow
@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_the_delta_is_the_formula_and_the_layer_uses_it(out: int, in_features: int, data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, in_features))
    columns = data.draw(st.sampled_from([None, *divisors(out)]))
    model, adaptation, adapter = one(Bone(rank=rank, columns=columns), out, in_features)
    block, m = adapter.block.detach(), columns or out
    expected = torch.stack([torch.stack([block[i % rank, o % m] for i in range(in_features)]) for o in range(out)])
    assert_close(adapter.delta(), expected)
    assert adaptation.summary().trainable == rank * m
    x, base = draw(3, 2, in_features, seed=9), model[0].weight.detach().clone()
    output = model(x)
    assert_close(output, x @ (base + expected).t() + model[0].bias)
    with torch.no_grad():
        assert_close(model(x), output)
    adaptation.merge()
    assert_close(model[0].weight, base + expected)
    adaptation.unmerge()
    assert torch.equal(model[0].weight, base)


LAYERS = {
    "linear": (lambda: nn.Linear(7, 6), draw(4, 3, 7)),
    "conv": (lambda: nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=1), draw(2, 4, 6, 5)),
    "conv-grouped": (lambda: nn.Conv1d(6, 4, 3, groups=2), draw(2, 6, 8)),
    "embedding": (lambda: nn.Embedding(9, 4, padding_idx=3), torch.tensor([[0, 3, 8], [3, 1, 5]])),
}


@pytest.mark.parametrize("columns", [None, 2])
@pytest.mark.parametrize("layer", LAYERS)
def test_the_layer_computes_with_the_delta(layer: str, columns: int | None) -> None:
    build, x = LAYERS[layer]
    model = nn.Sequential(filled(build()))
    adaptation = moved(adapt(model, Bone(rank=4, columns=columns), ["0"]))
    output = model(x)
    with adaptation.disabled():
        assert not torch.allclose(model(x), output)
    adaptation.merge()
    assert_close(model(x), output)


@pytest.mark.parametrize("columns", [None, 3])
def test_it_is_lora_with_a_tiled_identity(columns: int | None) -> None:
    model, _, adapter = one(Bone(rank=3, columns=columns))
    twin = nn.Sequential(filled(nn.Linear(7, 6)))
    lora = adapt(twin, LoRA(rank=3, alpha=3), ["0"]).adapters["0"]
    with torch.no_grad():
        lora.right.copy_(torch.eye(3).repeat(1, 3)[:, :7])
        lora.left.copy_(adapter.block.t().repeat(6 // adapter.block.shape[1], 1))
    x, y = (draw(5, 7, seed=8).requires_grad_() for _ in range(2))
    outputs = model(x), twin(y)
    assert_close(*outputs)
    for output in outputs:
        output.sin().sum().backward()
    assert_close(x.grad, y.grad)
    by_column = lora.left.grad.t().unflatten(1, (-1, adapter.block.shape[1])).sum(1)
    assert_close(adapter.block.grad, by_column)


def test_the_gradient_is_the_folded_input_times_the_output_gradient() -> None:
    model, _, adapter = one(Bone(rank=3))
    x, weights = draw(5, 7, seed=8), draw(5, 6, seed=9)
    (model(x) * weights).sum().backward()
    sums = x[:, 0:3] + x[:, 3:6] + torch.cat([x[:, 6:7], torch.zeros(5, 2).double()], dim=1)
    assert_close(folded(x, 3), sums)
    assert_close(adapter.block.grad, sums.t() @ weights)


def test_only_the_sums_of_the_input_are_kept_for_the_gradient() -> None:
    model, _, _ = one(Bone(rank=3))
    kept: list[tuple[int, ...]] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(tuple(t.shape)), t)[1], lambda t: t):
        model(draw(50, 7))
    assert kept == [(50, 3)]


def test_it_starts_at_the_base_to_the_bit_and_draws_nothing() -> None:
    for method in (Bone(rank=3), Bone(rank=3, columns=2)):
        model, x = nn.Sequential(filled(nn.Linear(7, 6))), draw(4, 7)
        expected, state = model(x), torch.get_rng_state()
        adapt(model, method, ["0"])
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(model(x), expected)


def test_one_column_for_each_output_is_the_default() -> None:
    first, second = one(Bone(rank=3))[0], one(Bone(rank=3, columns=6))[0]
    x = draw(4, 7)
    assert torch.equal(first(x), second(x))


def test_the_rank_is_bounded_by_both_sides_of_the_matrix() -> None:
    for method, bound in ((Bone(rank=4), 4), (Bone(rank=4, columns=2), 2)):
        _, _, adapter = one(method, 6, 9)
        assert torch.linalg.matrix_rank(adapter.delta()) == bound


def test_conversion_to_lora_is_exact() -> None:
    model, adaptation, _ = one(Bone(rank=3))
    x = draw(4, 7)
    expected = model(x)
    conversion = adaptation.convert(LoRA(rank=3, alpha=3))
    assert max(conversion.relative_error.values()) < 1e-12
    assert_close(model(x), expected)


def test_the_size_for_llama2_7b_is_the_published_one() -> None:
    with torch.device("meta"):
        layers = {name: nn.Linear(4096, 4096) for name in ("q", "k", "v", "o")}
        layers |= {"gate": nn.Linear(4096, 11008), "up": nn.Linear(4096, 11008), "down": nn.Linear(11008, 4096)}
        adaptation = adapt(nn.ModuleDict(layers), Bone(rank=64), "all-linear")
    assert 32 * adaptation.summary().trainable == 87_031_808


def test_a_half_precision_base_keeps_the_block_in_float32(tmp_path: Path) -> None:
    model = nn.Sequential(filled(nn.Linear(7, 6), torch.bfloat16))
    adaptation = moved(adapt(model, Bone(rank=3), ["0"]))
    assert adaptation.adapters["0"].block.dtype == torch.float32
    adaptation.save(tmp_path)
    fresh, x = nn.Sequential(filled(nn.Linear(7, 6), torch.bfloat16)), draw(4, 7, dtype=torch.bfloat16)
    load(fresh, tmp_path)
    assert torch.equal(fresh(x), model(x))


def test_dropout_acts_on_the_input_of_the_update_in_training_alone() -> None:
    model, _, adapter = one(Bone(rank=3, dropout=0.5))
    x = torch.ones(4000, 7).double()
    base = x @ model[0].weight.t() + model[0].bias
    model.train()
    change = (model(x) - base).detach()
    expected = adapter.delta().detach().sum(1)
    assert change.std(0).min() > 0
    assert (change.mean(0) - expected).abs().max() < 0.1  # 4000 rows of standard deviation about 1
    model.eval()
    assert_close(model(x), base + expected)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"rank": 0}, "at least 1"), ({"columns": 0}, "at least 1"), ({"dropout": 1.0}, r"\[0, 1\)")],
)
def test_wrong_fields_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        Bone(**fields)


def test_a_rank_above_the_inputs_is_refused() -> None:
    with pytest.raises(MethodError, match=r"rank 8 is above the 7 inputs .* at most 7"):
        one(Bone(rank=8))


def test_columns_that_do_not_divide_the_outputs_name_those_that_do() -> None:
    with pytest.raises(MethodError, match=r"columns 4 does not divide the 6 outputs of '0'; possible are 1, 2, 3, 6"):
        one(Bone(rank=2, columns=4))


def test_the_first_gradient_is_larger_than_that_of_lora_of_equal_size() -> None:
    """The rows of the tiled identity have the norm sqrt(in / r), those of LoRA's start sqrt(1 / 3)."""
    norms = {}
    for method in (LoRA(rank=2, alpha=2), Bone(rank=4)):
        model = nn.Sequential(filled(nn.Linear(96, 96)), nn.ReLU(), filled(nn.Linear(96, 96)))
        adaptation = adapt(model, method, ["0", "2"])
        model(draw(50, 96)).square().mean().backward()
        norms[type(method)] = torch.cat([p.grad.flatten() for p in adaptation.parameters()]).norm()
        assert adaptation.summary().trainable == 768
    assert norms[Bone] > 2 * norms[LoRA]

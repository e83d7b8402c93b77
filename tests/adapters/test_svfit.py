# SPDX-License-Identifier: Apache-2.0
"""SVFit: the formula, its gradient, the spectrum it leaves, the rank rules, and what a checkpoint needs."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from random_layers import draw, filled, moved
from rankwise import CheckpointError, MethodError, adapt, load
from rankwise.adapters.svfit import SVFit
from rankwise.core.method import Method
from rankwise.testing import assert_close


def one(method: Method, out: int = 5, in_features: int = 7, dtype: torch.dtype = torch.float64):
    """A linear layer with the method on it, its adapter, and the weight's own decomposition."""
    model = nn.Sequential(filled(nn.Linear(in_features, out), dtype))
    u, s, v = torch.linalg.svd(model[0].weight.detach(), full_matrices=False)
    adaptation = adapt(model, method, ["0"])
    return model, adaptation, adaptation.adapters["0"], (u, s, v)


LAYERS = {
    "linear": (lambda: nn.Linear(7, 5), draw(4, 3, 7)),
    "conv": (lambda: nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=1), draw(2, 4, 6, 5)),
    "conv-grouped": (lambda: nn.Conv1d(6, 4, 3, groups=2), draw(2, 6, 8)),
    "embedding": (lambda: nn.Embedding(9, 4), torch.tensor([[0, 3, 8], [3, 1, 5]])),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("rank", [None, 2])
def test_the_weight_is_the_formula_and_the_layer_uses_it(layer: str, rank: int | None) -> None:
    build, x = LAYERS[layer]
    model = nn.Sequential(filled(build()))
    stored = model[0].weight.detach().clone()
    matrix = stored.t() if layer == "embedding" else stored.flatten(1)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    adaptation = moved(adapt(model, SVFit(rank=rank), ["0"]))
    output, sigma = model(x), adaptation.adapters["0"].sigma.detach()
    expected = matrix + (u[:, :rank] * (sigma - s[:rank])) @ v[:rank]
    adaptation.merge()
    merged = model[0].weight.detach()
    assert_close(merged.t() if layer == "embedding" else merged.flatten(1), expected)
    assert_close(model(x), output)
    assert not torch.allclose(merged, stored)
    adaptation.unmerge()
    assert torch.equal(model[0].weight, stored)


@pytest.mark.parametrize("relative", [False, True])
def test_the_gradient_is_that_of_the_dense_weight_in_the_singular_basis(relative: bool) -> None:
    model, adaptation, adapter, (u, s, v) = one(SVFit(rank=3, relative=relative))
    moved(adaptation)
    x, bias = draw(4, 7).requires_grad_(), model[0].bias.detach()
    dense = (model[0].weight + adapter.delta()).detach().requires_grad_()
    (model(x).sin().sum()).backward()
    through_layer, x.grad = x.grad, None
    F.linear(x, dense, bias).sin().sum().backward()
    by_sigma = (u[:, :3].t() @ dense.grad @ v[:3].t()).diagonal()
    assert_close(adapter.change.grad, by_sigma * s[:3] if relative else by_sigma)
    assert_close(through_layer, x.grad)


def test_only_singular_values_change_and_vectors_stay() -> None:
    model, adaptation, adapter, (u, s, v) = one(SVFit(rank=3), out=6, in_features=6)
    moved(adaptation, 2.0)
    adaptation.merge()
    merged = model[0].weight.detach()
    core = u.t() @ merged @ v.t()
    assert_close(core - core.diagonal().diag(), torch.zeros(6, 6))
    expected = torch.cat([adapter.sigma.detach().abs(), s[3:]]).sort(descending=True).values
    assert_close(torch.linalg.svdvals(merged), expected)


def test_only_the_singular_values_train() -> None:
    model = nn.Sequential(filled(nn.Linear(7, 5)), nn.ReLU(), filled(nn.Linear(5, 4)))
    adaptation = adapt(model, SVFit(), ["0", "2"])
    assert adaptation.summary().trainable == 5 + 4
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert len(trainable) == 2 and all(name.endswith("change") for name in trainable)
    model = nn.Sequential(filled(nn.Linear(7, 5)))
    assert adapt(model, SVFit(rank=3), ["0"]).summary().trainable == 3


def test_signs_of_singular_vectors_do_not_matter() -> None:
    model, adaptation, adapter, _ = one(SVFit())
    moved(adaptation)
    x = draw(3, 7)
    before, probe = model(x), adapter.probe.clone()
    sign = torch.tensor([1.0, -1.0, -1.0, 1.0, -1.0])
    adapter.left.mul_(sign)
    adapter.right.mul_(sign[:, None])
    assert_close(model(x), before)
    adapter.restored()
    assert_close(adapter._probed(), probe)


@settings(max_examples=30)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 100))
def test_the_delta_has_the_size_of_the_change(out: int, in_features: int, seed: int) -> None:
    model = nn.Sequential(filled(nn.Linear(in_features, out), seed=seed))
    adapter = moved(adapt(model, SVFit(), ["0"])).adapters["0"]
    assert_close(torch.linalg.matrix_norm(adapter.delta()), torch.linalg.vector_norm(adapter.change))


def test_relative_trains_shares() -> None:
    _, adaptation, adapter, (_, s, _) = one(SVFit(relative=True))
    with torch.no_grad():
        adapter.change.fill_(0.5)
    assert_close(adapter.sigma, 1.5 * s)
    assert_close(torch.linalg.svdvals((adaptation.targets["0"].weight() + adapter.delta()).detach()), 1.5 * s)


def test_energy_takes_the_smallest_sufficient_rank() -> None:
    u, _, v = torch.linalg.svd(draw(4, 4))
    squares = torch.tensor([6.0, 3.0, 1.0, 0.0], dtype=torch.float64)
    for energy, rank in ((0.5, 1), (0.61, 2), (0.89, 2), (0.91, 3), (1.0, 3)):
        model = nn.Sequential(nn.Linear(4, 4)).double()
        with torch.no_grad():
            model[0].weight.copy_((u * squares.sqrt()) @ v)
        assert adapt(model, SVFit(energy=energy), ["0"]).summary().trainable == rank, energy


def test_energy_of_a_zero_weight_is_one_value() -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    nn.init.zeros_(model[0].weight)
    assert adapt(model, SVFit(energy=0.9), ["0"]).summary().trainable == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": 0}, "at least 1"),
        ({"energy": 0.0}, r"\(0, 1\]"),
        ({"energy": 1.5}, r"\(0, 1\]"),
        ({"rank": 2, "energy": 0.5}, "both rank=2 and energy=0.5"),
    ],
)
def test_wrong_fields_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        SVFit(**fields)


def test_a_rank_above_the_weight_is_refused() -> None:
    with pytest.raises(MethodError, match=r"rank 6 is above min\(out, in\) = 5"):
        one(SVFit(rank=6))


def test_a_half_precision_base_is_decomposed_in_float32() -> None:
    model = nn.Sequential(filled(nn.Linear(7, 5), torch.bfloat16))
    adapter = adapt(model, SVFit(), ["0"]).adapters["0"]
    assert_close(adapter.s0, torch.linalg.svdvals(model[0].weight.double()), torch.float32)


def test_a_checkpoint_is_three_short_vectors_and_restores_the_function(tmp_path: Path) -> None:
    model, adaptation, adapter, _ = one(SVFit(rank=3), out=20, in_features=30)
    moved(adaptation).save(tmp_path)
    tensors = load_file(tmp_path / "adapter.safetensors")
    assert sorted(tensors) == ["0:change", "0:probe", "0:s0"]
    assert all(value.shape == (3,) for value in tensors.values())
    fresh = nn.Sequential(filled(nn.Linear(30, 20)))
    again = load(fresh, tmp_path)
    x = draw(4, 30)
    assert torch.equal(fresh(x), model(x))
    assert torch.equal(again.adapters["0"].sigma, adapter.sigma)


def test_a_base_with_the_same_directions_and_other_singular_values_is_refused(tmp_path: Path) -> None:
    _, adaptation, _, _ = one(SVFit())
    moved(adaptation).save(tmp_path)
    other = nn.Sequential(filled(nn.Linear(7, 5)))
    with torch.no_grad():
        other[0].weight.mul_(1.5)
    with pytest.raises(CheckpointError, match=r"the singular values .* differ by 50%"):
        load(other, tmp_path, other_base=True)


def test_repeated_singular_values_in_another_basis_are_refused(tmp_path: Path) -> None:
    """All singular values are 1, so a change in the last bits turns the singular vectors and not the values."""

    def orthogonal(noise: float) -> nn.Module:
        model = nn.Sequential(nn.Linear(8, 8)).double()
        with torch.no_grad():
            model[0].weight.copy_(torch.linalg.qr(draw(8, 8)).Q + noise * draw(8, 8, seed=1))
        return model

    moved(adapt(orthogonal(0.0), SVFit(), ["0"])).save(tmp_path)
    load(orthogonal(0.0), tmp_path)
    with pytest.raises(CheckpointError, match=r"the frozen directions .* repeated"):
        load(orthogonal(1e-13), tmp_path)


@pytest.mark.parametrize("rank", [5, 20])
def test_training_reaches_the_closed_form_optimum(rank: int) -> None:
    """Over all inputs ||W - W*||^2 is least where sigma_j = u_j^T W* v_j; what is not diagonal is out of reach."""
    model, adaptation, adapter, (u, _, v) = one(SVFit(rank=rank), out=24, in_features=20)
    weight = model[0].weight.detach()
    goal = weight + 0.3 * draw(24, 20, seed=5)
    best = (u.t() @ goal @ v.t()).diagonal()[:rank]
    optimizer = torch.optim.Adam(adaptation.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        (model(torch.eye(20).double()) - model[0].bias - goal.t()).square().sum().backward()
        optimizer.step()
    # not the table's tolerance: Adam ends within a fraction of its step size
    torch.testing.assert_close(adapter.sigma.detach(), best, rtol=0, atol=1e-4)
    left = (goal - weight).square().sum() - (best - adapter.s0).square().sum()
    torch.testing.assert_close((goal - weight - adapter.delta().detach()).square().sum(), left, rtol=1e-6, atol=0)
    assert left > 0.9 * (goal - weight).square().sum()  # the limit of the method: a general change stays out of reach

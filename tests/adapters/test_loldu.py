# SPDX-License-Identifier: Apache-2.0
"""LoLDU: the formula against elimination done elsewhere, gradients, the starts, small pivots, its checkpoint."""

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from random_layers import draw, moved
from rankwise import CheckpointError, MethodError, adapt, load
from rankwise.adapters.loldu import LoLDU
from rankwise.testing import assert_close

INITS = ("uniform", "lu", "constant", "normal")


def layer(weight: Tensor) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(weight.shape[1], weight.shape[0])).to(weight.dtype)
    with torch.no_grad():
        model[0].weight.copy_(weight)
        model[0].bias.copy_(draw(weight.shape[0], seed=7))
    return model


def eliminated(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """P L, D and the unit upper U of a weight, from LAPACK through scipy."""
    left, upper = scipy.linalg.lu(weight.numpy(), permute_l=True)
    d = np.diagonal(upper).copy()
    return torch.from_numpy(left), torch.from_numpy(d), torch.from_numpy(upper / d[:, None])


@pytest.mark.parametrize("shape", [(5, 5), (7, 4), (4, 7)])
@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("method", [LoLDU(), LoLDU(alpha=6.0), LoLDU(init="lu", train_sigma=False)], ids=str)
def test_the_weight_is_the_formula(shape: tuple[int, int], rank: int | None, method: LoLDU) -> None:
    weight = draw(*shape)
    left, d, right = eliminated(weight)
    method = LoLDU(rank, method.alpha, method.init, method.train_sigma)
    model = layer(weight)
    adapter = moved(adapt(model, method, ["0"])).adapters["0"]
    r = rank or 4 + (shape == (5, 5))
    sigma0 = 1.0 if method.alpha is None else method.alpha / r
    core = adapter.sigma * adapter.z - sigma0 * adapter.z0
    expected = (left[:, :r] * core) @ right[:r]
    assert_close(adapter.delta(), expected)
    if method.init == "lu":
        assert_close(adapter.z0, d[:r])
        residual = weight - (left[:, :r] * d[:r]) @ right[:r]
        assert_close(weight + adapter.delta(), residual + (left[:, :r] * adapter.z) @ right[:r])
    x = draw(3, shape[1], seed=1)
    assert_close(model(x), F.linear(x, weight + expected, model[0].bias))


def test_gradients_are_those_of_the_formula() -> None:
    weight = draw(5, 7)
    left, _, right = eliminated(weight)
    model = layer(weight)
    adapter = moved(adapt(model, LoLDU(rank=3, alpha=6.0), ["0"])).adapters["0"]
    x = draw(4, 7, seed=1)
    dense = (weight + adapter.delta()).detach().requires_grad_()
    model(x).sin().sum().backward()
    F.linear(x, dense, model[0].bias.detach()).sin().sum().backward()
    along = (left[:, :3].t() @ dense.grad @ right[:3].t()).diagonal()
    assert_close(adapter.change.grad, adapter.sigma.detach() * along)
    assert_close(adapter.sigma_change.grad, (adapter.z.detach() * along).sum().reshape(1))


@settings(max_examples=30)
@given(st.integers(2, 7), st.integers(0, 100))
def test_a_square_weight_moves_only_along_its_own_components(size: int, seed: int) -> None:
    weight = draw(size, size, seed=seed)
    left, d, right = eliminated(weight)
    adapter = moved(adapt(layer(weight), LoLDU(init="lu"), ["0"])).adapters["0"]
    assume(bool((d.abs() > 1e-3 * d.abs().max()).all()))  # else the two solves lose the digits that are compared
    core = torch.linalg.solve(left, adapter.delta().detach()) @ torch.linalg.inv(right)
    assert_close(core, core.diagonal().diag())


def test_the_starts_are_the_ones_of_the_paper() -> None:
    weight = draw(60, 60)
    d = eliminated(weight)[1]
    start = {init: adapt(layer(weight), LoLDU(init=init), ["0"]).adapters["0"].z0 for init in INITS}
    half = d.mean().abs() / 2
    assert_close(start["lu"], d)
    assert_close(start["constant"], d.mean().expand(60))
    assert float(start["uniform"].abs().max()) <= half and float(start["uniform"].std()) > 0.4 * half
    standard = (start["normal"] - d.mean()) / d.std()
    assert_close(standard, torch.randn(60, generator=target_generator(), dtype=torch.float64))


def target_generator() -> torch.Generator:
    return adapt(layer(draw(2, 2)), LoLDU(), ["0"]).targets["0"].generator()


def test_the_start_depends_on_the_seed() -> None:
    one, same, other = (adapt(layer(draw(5, 5)), LoLDU(), ["0"], seed=s).adapters["0"].z0 for s in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)


def trained(method: LoLDU) -> list[Tensor]:
    """The losses along 20 steps of Adam."""
    model, x, y = layer(draw(6, 6)), draw(32, 6, seed=1), draw(32, 6, seed=2)
    adaptation = adapt(model, method, ["0"])
    optimizer, losses = torch.optim.Adam(adaptation.parameters(), lr=0.05), []
    for _ in range(20):
        optimizer.zero_grad()
        losses.append((model(x) - y).square().mean())
        losses[-1].backward()
        optimizer.step()
    return torch.stack(losses).detach()


def test_with_sigma_fixed_every_start_trains_alike() -> None:
    losses = [trained(LoLDU(init=init, train_sigma=False)) for init in INITS]
    assert losses[0][-1] < 0.9 * losses[0][0]
    for other in losses[1:]:
        assert torch.equal(losses[0], other)


def test_with_sigma_trained_the_start_matters() -> None:
    losses = [trained(LoLDU(init=init)) for init in ("lu", "constant")]
    assert losses[0][0] == losses[1][0]
    assert float((losses[0] - losses[1]).abs().max()) > 1e-3


@pytest.mark.parametrize(("train_sigma", "extra"), [(True, 1), (False, 0)])
@pytest.mark.parametrize(("rank", "count"), [(None, 5), (3, 3)])
def test_parameter_count(train_sigma: bool, extra: int, rank: int | None, count: int) -> None:
    adaptation = adapt(layer(draw(5, 7)), LoLDU(rank=rank, train_sigma=train_sigma), ["0"])
    assert adaptation.summary().trainable == count + extra


def test_a_checkpoint_is_short_vectors(tmp_path: Path) -> None:
    adaptation = moved(adapt(layer(draw(20, 30)), LoLDU(rank=3), ["0"]))
    adaptation.save(tmp_path)
    shapes = {name: tuple(value.shape) for name, value in load_file(tmp_path / "adapter.safetensors").items()}
    assert shapes == {"0:change": (3,), "0:sigma_change": (1,), "0:z0": (3,), "0:rows": (3,), "0:probe": (3,)}


def test_a_checkpoint_keeps_the_order_of_rows_on_a_rounded_base(tmp_path: Path) -> None:
    weight = draw(120, 100).float()
    saved = moved(adapt(layer(weight), LoLDU(), ["0"]))
    saved.save(tmp_path)
    rounded = adapt(layer(weight.bfloat16()), LoLDU(), ["0"]).adapters["0"]
    assert not torch.equal(rounded.rows, saved.adapters["0"].rows)
    again = load(layer(weight.bfloat16()), tmp_path).adapters["0"]
    assert torch.equal(again.rows, saved.adapters["0"].rows)
    delta = saved.adapters["0"].delta().detach()
    assert float(torch.linalg.matrix_norm(again.delta().detach() - delta)) < 0.05 * float(
        torch.linalg.matrix_norm(delta)
    )


@pytest.mark.parametrize("rows", [[0, 0, 1], [0, 1, 5], [-1, 0, 1]])
def test_an_order_that_is_none_is_refused(rows: list[int], tmp_path: Path) -> None:
    adaptation = adapt(layer(draw(5, 7)), LoLDU(rank=3), ["0"])
    adaptation.adapters["0"].rows.copy_(torch.tensor(rows))
    adaptation.save(tmp_path)
    with pytest.raises(CheckpointError, match="rows must be distinct numbers from 0 to 4"):
        load(layer(draw(5, 7)), tmp_path)


@pytest.mark.parametrize("init", INITS)
def test_a_singular_weight_trains_its_other_components(init: str) -> None:
    weight = draw(6, 6)[[0, 1, 2, 0, 4, 5]]
    weight[:, 2] = 0
    model, x = layer(weight), draw(4, 6, seed=1)
    before = model(x)
    adaptation = adapt(model, LoLDU(init=init), ["0"])
    assert torch.equal(model(x), before)
    moved(adaptation)
    model(x).square().sum().backward()
    adapter = adaptation.adapters["0"]
    assert bool(adapter.delta().isfinite().all()) and bool(adapter.z0.isfinite().all())
    dropped = (adapter.right == 0).all(-1)
    assert int(dropped.sum()) == 2
    assert bool(((adapter.change.grad == 0) == dropped).all())


def test_a_weight_without_pivots_is_refused() -> None:
    with pytest.raises(MethodError, match="'0' has no pivot among the first 3"):
        adapt(layer(torch.zeros(3, 4)), LoLDU(), ["0"])


@pytest.mark.parametrize(
    ("fields", "message"), [({"rank": 0}, "rank must be at least 1"), ({"alpha": 0.0}, "alpha must be above 0")]
)
def test_wrong_fields_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        LoLDU(**fields)


def test_a_rank_above_the_weight_is_refused() -> None:
    with pytest.raises(MethodError, match=r"rank 6 is above min\(out, in\) = 5"):
        adapt(layer(draw(5, 7)), LoLDU(rank=6), ["0"])

# SPDX-License-Identifier: Apache-2.0
"""SNELLA: its schedule, and a run against one that is written out step by step."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from random_layers import draw
from rankwise import MethodError, StateError, adapt, load
from rankwise.adapters.snell import SNELL
from rankwise.adapters.snella import SNELLA
from rankwise.core.budget import apportion
from rankwise.testing import assert_close
from rankwise.testing.layers import Experts

SIZES = ((7, 9), (9, 6), (6, 5))
SHORT = {"rank": 4, "coefficient": 1.0, "sparsity": 0.5, "total_steps": 10, "initial_steps": 2, "final_steps": 2}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*[module for size in SIZES for module in (nn.Linear(*size), nn.Tanh())]).double()


def batch(step: int) -> tuple[Tensor, Tensor]:
    x = draw(16, 7, seed=1000 + step)
    return x, torch.stack([x[:, 0] * x[:, 1], x.sum(1), x[:, 2], -x[:, 3], x[:, 4].abs()], dim=1)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        x, y = batch(step)
        F.mse_loss(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()


def test_the_worked_example_of_the_schedule() -> None:
    method = SNELLA(**SHORT | {"interval": 1})
    assert [method.budget(step, 86) for step in range(10)] == [86, 86, 86, 67, 55, 48, 44, 43, 43, 43]
    assert [step for step in range(12) if method.has_event(step)] == [3, 4, 5, 6, 7, 8, 9]
    sparse = SNELLA(**SHORT | {"interval": 3, "total_steps": 20})
    assert [step for step in range(25) if sparse.has_event(step)] == [3, 6, 9, 12, 15, 18, 19]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 50), st.integers(0, 9), st.integers(0, 9), st.integers(0, 99), st.integers(0, 99))
def test_the_budget_falls_from_the_first_to_the_last(length: int, first: int, last: int, a: int, b: int) -> None:
    low, high = sorted((a, b))
    method = SNELLA(
        initial_sparsity=low / 100,
        sparsity=high / 100,
        total_steps=first + last + length,
        initial_steps=first,
        final_steps=last,
    )
    budgets = [method.budget(step, 1000) for step in range(method.total_steps + 2)]
    assert budgets == sorted(budgets, reverse=True)
    assert budgets[0] == 10 * (100 - low) and budgets[-1] == 10 * (100 - high)


def nonzeros(adaptation) -> list[int]:
    return [int((one.delta() != 0).sum()) for one in adaptation.adapters.values()]


def test_it_starts_as_snell_with_the_first_sparsity_and_keeps_it_until_the_first_event() -> None:
    for sparsity in (0.0, 0.3):
        method = SNELLA(**SHORT | {"initial_sparsity": sparsity, "interval": 1})
        models = [network(), network()]
        mine = adapt(models[0], method)
        other = adapt(models[1], SNELL(rank=4, coefficient=1.0, sparsity=sparsity, kernel="mixed"))
        x, _ = batch(0)
        assert torch.equal(models[0].eval()(x), models[1](x))
        for one, same in zip(mine.adapters.values(), other.adapters.values(), strict=True):
            assert int(one.order) == same.order
        optimizer, before = torch.optim.SGD(mine.parameters(), lr=0.0), nonzeros(mine)
        mine.attach(optimizer)
        train(models[0].train(), optimizer, range(2))
        assert nonzeros(mine) == before
        train(models[0], optimizer, range(2, 3))
        assert sum(nonzeros(mine)) < sum(before)


class Written:
    """The method on one weight, with full-size masks and averages in plain lists of tensors."""

    def __init__(self, layer: nn.Linear, start) -> None:
        self.weight, self.bias = layer.weight.detach(), layer.bias.detach()
        self.points = [one.detach().clone().requires_grad_() for one in (start.p, start.q, start.mix)]
        self.mean = [torch.zeros_like(one) for one in self.points[:2]]
        self.doubt = [torch.zeros_like(one) for one in self.points[:2]]
        self.sparsity = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        p, q, mix = self.points
        distances = (p[:, :, None] - q[:, None]).square().sum(-1).sqrt()
        values = distances[0] - distances[1]
        values = values + mix[0] * (values / mix[1]).softmax(-1) + mix[2]
        mask = values.detach().abs() > torch.quantile(values.detach().abs(), self.sparsity)
        self.update = values * values.detach().abs() * mask
        return F.linear(x, self.weight, self.bias) + x @ self.update

    def observe(self, beta: float) -> None:
        for i, one in enumerate(self.points[:2]):
            product = (one.detach() * one.grad).abs()
            self.mean[i] = beta * self.mean[i] + (1 - beta) * product
            self.doubt[i] = beta * self.doubt[i] + (1 - beta) * (product - self.mean[i]).abs()

    def score(self) -> float:
        return sum(float((mean * doubt).mean()) for mean, doubt in zip(self.mean, self.doubt, strict=True))


def test_a_run_is_that_of_the_method_written_out() -> None:
    method = SNELLA(**SHORT | {"interval": 1})
    model = network()
    adaptation = adapt(model, method)
    layers = [Written(model[2 * i], one) for i, one in enumerate(adaptation.adapters.values())]
    optimizer = torch.optim.AdamW(adaptation.parameters(), lr=0.02)
    adaptation.attach(optimizer)
    second = torch.optim.AdamW([p for one in layers for p in one.points], lr=0.02)
    total = sum(a * b for a, b in SIZES)
    for step in range(10):
        x, y = batch(step)
        hidden = x
        for layer in layers:
            hidden = layer(hidden).tanh()
        output = model(x)
        assert_close(output, hidden, torch.float32)  # ten steps of AdamW divide by roots of small numbers
        for loss in (F.mse_loss(output, y), F.mse_loss(hidden, y)):
            loss.backward()
        for one in (optimizer, second):
            one.step()
        for layer in layers:
            layer.observe(0.85)
        for one in (optimizer, second):
            one.zero_grad()
        if step + 1 < 10 and method.has_event(step + 1):
            scores = [layer.score() for layer in layers]
            dealt = apportion(method.budget(step + 1, total), scores, [a * b for a, b in SIZES])
            for layer, share, (a, b) in zip(layers, dealt, SIZES, strict=True):
                layer.sparsity = 1 - share / (a * b)
            assert [int(one.kept) for one in adaptation.adapters.values()] == dealt
            assert nonzeros(adaptation) == [d - (d == a * b) for d, (a, b) in zip(dealt, SIZES, strict=True)]
    assert sum(int(one.kept) for one in adaptation.adapters.values()) == total - total // 2 - total % 2
    assert len({int(one.kept) * 100 // one.entries for one in adaptation.adapters.values()}) == 3


def test_identical_weights_keep_the_same_share() -> None:
    stack = Experts(4, 5, 6).double()
    with torch.no_grad():
        stack.up_proj.copy_(draw(5, 6).expand(4, 5, 6))
    method = SNELLA(**SHORT | {"interval": 1})
    adaptation = adapt(stack, method, ["up_proj"])
    (adapter,) = adaptation.adapters.values()
    with torch.no_grad():
        for one in (adapter.p, adapter.q):
            one.copy_(one[:1].expand_as(one))
    optimizer = torch.optim.AdamW(adaptation.parameters(), lr=0.01)
    adaptation.attach(optimizer)
    for step in range(10):
        stack(draw(8, 6, seed=step)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert adapter.kept.tolist() == [15, 15, 15, 15]
    assert_close(adapter.sparsity, torch.full((4,), 0.5, dtype=torch.float64))
    assert (adapter.delta() != 0).sum((1, 2)).tolist() == [15, 15, 15, 15]


def test_a_weight_may_lose_all_of_its_entries() -> None:
    adapter = adapt(network(), SNELLA(**SHORT)).adapters["0"]
    for kept in (0, 1, 10, 63):
        adapter.kept.fill_(kept)
        assert int((adapter.delta() != 0).sum()) == min(kept, 62)  # the smallest entry is never above itself


def test_a_resumed_run_is_the_same_to_the_bit(tmp_path) -> None:
    method, outputs = SNELLA(**SHORT | {"interval": 1, "subtract_start": True}), []
    for cut in (10, 5):
        model = network()
        adaptation = adapt(model, method)
        optimizer = torch.optim.AdamW(adaptation.parameters(), lr=0.02)
        adaptation.attach(optimizer)
        train(model, optimizer, range(cut))
        if cut < 10:
            adaptation.save(tmp_path)
            state, model = optimizer.state_dict(), network()
            adaptation = load(model, tmp_path)
            optimizer = torch.optim.AdamW(adaptation.parameters(), lr=0.02)
            adaptation.attach(optimizer)
            optimizer.load_state_dict(state)
            train(model, optimizer, range(cut, 10))
        outputs.append((model(batch(0)[0]), *(one.kept for one in adaptation.adapters.values())))
    assert all(torch.equal(one, other) for one, other in zip(*outputs, strict=True))


def test_a_gradient_that_is_not_finite_counts_as_none() -> None:
    adaptation = adapt(network(), SNELLA(**SHORT))
    adapter = adaptation.adapters["0"]
    adapter.p.grad = torch.full_like(adapter.p, torch.nan)
    adapter.p.grad[0, 0, 0] = 2.0
    adapter.observe(0.85, 0.85)
    first = 2 * abs(adapter.p[0, 0, 0].item())
    sensitivity = adapter.averages[0].sensitivity
    assert float(sensitivity[0, 0, 0]) == pytest.approx(0.15 * first)
    assert not sensitivity.flatten()[1:].any() and not adapter.averages[1].sensitivity.any()
    doubt = float(adapter.averages[0].uncertainty[0, 0, 0])
    assert doubt == pytest.approx(0.15 * 0.85 * first)
    assert float(adapter.scores()) == pytest.approx(0.15 * first * doubt / adapter.p.numel())


def test_it_does_not_train_without_its_schedule() -> None:
    model = network()
    adapt(model, SNELLA(**SHORT))
    with pytest.raises(StateError, match=r"call adaptation.attach\(optimizer\)"):
        model.train()(batch(0)[0])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"interval": 0}, "interval must be at least 1"),
        ({"initial_steps": -1}, "initial_steps must be at least 0"),
        ({"beta1": 1.0}, r"beta1 must be in \[0, 1\)"),
        ({"initial_sparsity": 0.95}, "initial_sparsity 0.95 is above the sparsity 0.9"),
        ({"sparsifier": "none"}, "use SNELL for sparsifier='none'"),
        ({"total_steps": 10, "initial_steps": 6, "final_steps": 4}, "leave none of the total_steps 10"),
    ],
)
def test_fields_out_of_range_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        SNELLA.from_fields(fields)

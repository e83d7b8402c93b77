# SPDX-License-Identifier: Apache-2.0
"""A search against a bi-level loop by hand, whose turn a step is, and what the gates find."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from gated_network import FAST, PLACES, SLOW, batch, network, optimizer_of, train
from random_layers import draw, filled
from rankwise import LoRA, MethodError, adapt
from rankwise.adapters.diffora import DiffoRA
from rankwise.adapters.search import gate_step, selected
from rankwise.testing import assert_close


def snapshot(adaptation):
    return {name: p.detach().clone() for name, p in adaptation.named_parameters()}


def same(one, other, names):
    return all(torch.equal(one[name], other[name]) for name in names)


@pytest.mark.parametrize("mode", ["sigmoid", "softmax"])
def test_a_search_equals_a_bi_level_loop_by_hand(mode):
    adaptation = adapt(network(), DiffoRA(rank=2, search_warmup=2, search_steps=20, mode=mode), list(PLACES))
    start = [(one.left.detach().clone(), one.right.detach().clone()) for one in adaptation.adapters.values()]
    model, weights = network().requires_grad_(False), [f"{name}.weight" for name in adaptation.targets]
    theta, factors = nn.Parameter(torch.zeros(6).double()), [nn.Parameter(p) for pair in start for p in pair]
    on_gates = torch.optim.AdamW([theta], lr=FAST, weight_decay=0.0)
    on_factors = torch.optim.AdamW(factors, lr=SLOW, weight_decay=0.1)
    for step in range(11):
        x, y = batch(step)
        gates = theta.sigmoid() if mode == "sigmoid" else 3 * theta.view(2, 3).softmax(1).flatten()
        pairs = zip(gates, factors[::2], factors[1::2], strict=True)
        deltas = {n: model.get_parameter(n) + g * 8 * b @ a for n, (g, b, a) in zip(weights, pairs, strict=True)}
        F.mse_loss(functional_call(model, deltas, (x,)), y).backward()
        (on_gates if step >= 2 and step % 2 == 0 else on_factors).step()
        on_gates.zero_grad()
        on_factors.zero_grad()
    train(adaptation, optimizer_of(adaptation), range(11))
    assert_close(adaptation.shared.theta, theta)
    assert theta.abs().min() > 0.01
    found = [p for one in adaptation.adapters.values() for p in (one.left, one.right)]
    for mine, other in zip(found, factors, strict=True):
        assert_close(mine, other)


def test_a_step_moves_the_gates_alone_or_the_factors_alone():
    adaptation = adapt(network(), DiffoRA(rank=2, search_warmup=1, search_steps=7), list(PLACES))
    head = adaptation.model.head.requires_grad_(True)
    optimizer, turns = optimizer_of(adaptation, others=head.parameters()), []
    for step in range(8):
        turns.append(gate_step(adaptation))
        before, bias, kept = snapshot(adaptation), head.bias.detach().clone(), copy.deepcopy(optimizer.state)
        factors = [name for name in before if not name.startswith("shared.")]
        train(adaptation, optimizer, [step])
        after = snapshot(adaptation)
        assert torch.equal(before["shared.theta"], after["shared.theta"]) != turns[-1]
        assert same(before, after, factors) == torch.equal(bias, head.bias) == turns[-1]
        if step < 7:
            assert same(before, after, [name for name in before if "pairs" in name])
        if turns[-1]:
            states = [
                (kept.get(p, {}), optimizer.state[p]) for p in (head.bias, adaptation.adapters["layers.0.key"].left)
            ]
            assert all(torch.equal(old[key], new[key]) for old, new in states for key in old)
    assert turns == [False, True, False, True, False, True, False, False]


def test_two_loaders_keep_the_halves_of_the_data_apart():
    data = TensorDataset(draw(24, 6), draw(24, 2, seed=1), torch.arange(24))
    halves = torch.utils.data.random_split(data, [16, 8], torch.Generator().manual_seed(0))
    adaptation = adapt(network(), DiffoRA(rank=2, search_warmup=2, search_steps=12), list(PLACES))
    optimizer, seen = optimizer_of(adaptation), {True: set(), False: set()}
    of_factors, of_gates = (itertools.cycle(DataLoader(half, batch_size=4)) for half in halves)
    while not adaptation.shared.rounded:
        turn = gate_step(adaptation)
        x, y, ids = next(of_gates if turn else of_factors)
        seen[turn] |= set(ids.tolist())
        before = adaptation.shared.theta.detach().clone()
        F.mse_loss(adaptation.model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
        assert torch.equal(before, adaptation.shared.theta) != turn
    assert len(seen[True]) == 8
    assert len(seen[False]) == 16
    assert not seen[True] & seen[False]


def test_another_share_needs_no_other_search():
    adaptation = adapt(network(), DiffoRA(rank=2, search_warmup=2, search_steps=8, scope="global"), list(PLACES))
    train(adaptation, optimizer_of(adaptation), range(8))
    theta = dict(zip(adaptation.shared.names, adaptation.shared.theta.tolist(), strict=True))
    order = sorted(theta, key=lambda name: -theta[name])
    for rho, count in ((0.09, 1), (0.25, 2), (0.5, 3), (1.0, 6)):
        assert set(selected(adaptation, rho)) == set(order[:count])
    assert selected(adaptation) == selected(adaptation, 0.5)


def test_other_methods_have_no_gates():
    adaptation = adapt(network(), LoRA(rank=2), list(PLACES))
    with pytest.raises(MethodError, match="only an adaptation with DiffoRA has gates, got LoRA"):
        gate_step(adaptation)


def task(seed):
    """Twelve 16 x 16 layers, a teacher that differs in three of them, and samples to train on and to judge by."""
    model = filled(nn.Sequential(*(Pair() for _ in range(6))), torch.float32, seed=100 * seed)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(0.25 if p.ndim == 2 else 0.0)
        teacher, names = copy.deepcopy(model), [f"{i}.{place}" for i in range(6) for place in ("inner", "outer")]
        changed = [names[i] for i in torch.randperm(12, generator=torch.Generator().manual_seed(seed))[:3]]
        for i, name in enumerate(changed):
            shift = draw(16, 2, seed=7 * seed + i) @ draw(2, 16, seed=7 * seed + i + 1)
            teacher.get_parameter(f"{name}.weight").add_(0.14 * shift.float())
        x = draw(1024, 16, seed=seed, dtype=torch.float32)
        return model, names, set(changed), x, teacher(x)


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x):
        return x + self.outer(torch.tanh(self.inner(x)))


def held_out_error(model, optimizer, x, y, steps):
    for _ in range(steps):
        F.mse_loss(model(x[:512]), y[:512]).backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        return float(F.mse_loss(model(x[512:]), y[512:]))


@pytest.mark.slow
def test_the_gates_find_what_the_task_changes():
    ours, chance = 0.0, 0.0
    for seed in range(3):
        model, names, changed, x, y = task(seed)
        method = DiffoRA(rank=4, alpha=8, rho=0.25, scope="global", share="none", search_steps=400)
        adaptation = adapt(model, method, names)
        optimizer = optimizer_of(adaptation, decay=0.01)
        for _ in range(400):
            half = slice(256, 512) if gate_step(adaptation) else slice(0, 256)
            F.mse_loss(model(x[half]), y[half]).backward()
            optimizer.step()
            optimizer.zero_grad()
        assert len(set(selected(adaptation)) & changed) >= 2
        ours += held_out_error(model, optimizer, x, y, 200)
        order = torch.randperm(12, generator=torch.Generator().manual_seed(50 + 2 * seed))
        model = task(seed)[0]
        plain = adapt(model, LoRA(rank=4, alpha=8), [names[i] for i in order[:3]])
        beside = torch.optim.AdamW(plain.parameters(), lr=SLOW, weight_decay=0.01)
        chance += held_out_error(model, beside, x, y, 200)
    assert 4 * ours < chance

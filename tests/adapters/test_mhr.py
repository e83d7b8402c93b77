# SPDX-License-Identifier: Apache-2.0
"""MHR: heads, and what becomes of a trained inventory on a new task (MHR-z, MHR-mu)."""

import runpy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rankwise import LoRA, MethodError, StateError, adapt, load
from rankwise.adapters.mhr import MHR, average, router_only
from rankwise.adapters.poly import Poly
from rankwise.testing import assert_close

METHOD = MHR(rank=2, skills=3, tasks=4, heads=4, alpha=3.0)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, x):
        return x + self.down(torch.tanh(self.up(x)))


def x(seed=0):
    return torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def trained(method=METHOD, **options):
    """An adaptation of two layers with tensors away from their start."""
    torch.manual_seed(0)
    adaptation = adapt(Block().double(), method, "all-linear", **options)
    with torch.no_grad():
        for parameter in adaptation.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return adaptation


def test_one_head_is_poly():
    poly, mhr = trained(Poly(rank=2, skills=3, tasks=4)), trained(MHR(rank=2, skills=3, tasks=4, heads=1))
    for name, one in poly.adapters.items():
        mhr.adapters[name].load_state_dict(one.state_dict())
    with poly.context(task=[1, 0, 3, 1]), mhr.context(task=[1, 0, 3, 1]):
        assert torch.equal(poly.model(x()), mhr.model(x()))


def test_equals_peft_in_evaluation():
    """PEFT samples its router in training, and its scale is 1 / r."""
    peft = pytest.importorskip("peft")
    ours = trained(MHR(rank=2, skills=3, tasks=4, heads=4))
    mine, adapter = ours.model.get_submodule("up"), ours.adapters["up"]
    config = peft.PolyConfig(r=2, n_tasks=4, n_skills=3, n_splits=4, target_modules=["up"])
    theirs = peft.get_peft_model(Block().double(), config).eval().base_model.model.get_submodule("up")
    with torch.no_grad():
        theirs.base_layer.weight.copy_(mine.weight)
        theirs.base_layer.bias.copy_(mine.bias)
        theirs.poly_lora_A["default"].copy_(adapter.lora_a)
        theirs.poly_lora_B["default"].copy_(adapter.lora_b)
        theirs.poly_router["default"].module_logits.copy_(adapter.logits)
    tasks = torch.tensor([3, 0, 1, 3])
    with ours.context(task=tasks):
        actual = mine(x())
    assert not torch.allclose(actual, theirs.base_layer(x()))
    assert_close(actual, theirs(x(), task_ids=tasks))


def test_heads_mix_by_themselves():
    """With one-hot routing block h comes from the skill chosen for h alone: 3^4 adapters from 12 numbers."""
    adaptation = trained()
    adapter, chosen = adaptation.adapters["up"], [2, 0, 1, 2]
    with torch.no_grad():
        adapter.logits[1] = torch.where(F.one_hot(torch.tensor(chosen), 3).bool(), 40.0, -40.0).flatten()
    left, right = adapter.mixture(adapter.routing(torch.tensor([1])))
    for h, s in enumerate(chosen):
        assert_close(right[:, 2 * h : 2 * h + 2], adapter.lora_a[h, s].mT)
        assert_close(left[3 * h : 3 * h + 3], adapter.lora_b[h, s].mT)


@pytest.mark.parametrize("ranks", [{}, {"up": 3}])
def test_router_only_trains_fresh_routing_on_the_same_skills(ranks):
    adaptation = trained(ranks=ranks)
    adaptation.scale = 0.5
    kept = {name: (one.lora_a.clone(), one.lora_b.clone()) for name, one in adaptation.adapters.items()}
    new = router_only(adaptation)
    assert new.summary().trainable == 2 * 4 * 3
    assert [name.rpartition(".")[2] for name, _ in new.named_parameters()] == ["logits", "logits"]
    assert new.method.tasks == 1 and new.scale == 0.5
    optimizer = torch.optim.Adam(new.parameters(), lr=0.1)
    new.attach(optimizer)
    start = new.model(x()).detach()
    for _ in range(2):
        optimizer.zero_grad()
        new.model(x()).square().sum().backward()
        optimizer.step()
    assert not torch.allclose(new.model(x()), start)
    for name, one in new.adapters.items():
        assert torch.equal(one.lora_a, kept[name][0])
        assert torch.equal(one.lora_b, kept[name][1])
        assert one.logits.shape == (1, 12)


def test_the_fresh_router_starts_near_the_mean_and_follows_the_seed():
    fresh = [router_only(trained(), seed=seed).adapters["up"].logits for seed in (0, 0, 1)]
    assert torch.equal(fresh[0], fresh[1])
    assert not torch.equal(fresh[0], fresh[2])
    assert 0 < fresh[0].abs().max().item() <= 1e-3


def test_full_tuning_trains_the_skills_too():
    new = router_only(trained(), freeze=False)
    assert new.summary().trainable == 2 * (3 * 2 * (8 + 12) + 4 * 3)


def test_a_frozen_inventory_is_saved_and_continues_frozen(tmp_path):
    new = router_only(trained())
    expected = new.model(x())
    new.save(tmp_path)
    new.remove()
    again = load(new.model, tmp_path)
    assert torch.equal(again.model(x()), expected)
    assert again.summary().trainable == 24


@pytest.mark.parametrize("ranks", [{}, {"up": 3}])
def test_average_is_the_uniform_router(ranks):
    adaptation = trained(ranks=ranks)
    with torch.no_grad():
        for one in adaptation.adapters.values():
            one.logits[2] = 0.3
    adaptation.scale = 0.5
    with adaptation.context(task=2):
        expected = adaptation.model(x())
    single = average(adaptation)
    assert_close(single.model(x()), expected)
    assert isinstance(single.method, LoRA)
    assert single.summary().trainable == sum(rank * (8 + 12) for rank in (ranks.get("up", 2), 2))


def test_average_of_other_normalizations_is_the_mean_too():
    adaptation = trained(MHR(rank=2, skills=3, heads=4, normalize="sqrt"))
    adapter = adaptation.adapters["up"]
    mean = torch.cat(list(adapter.lora_a.mean(dim=1))).mT.clone()
    assert_close(average(adaptation).adapters["up"].right, mean)


def test_other_adapters_of_the_model_stay():
    adaptation = trained()
    other = adapt(adaptation.model, LoRA(rank=1), "all-linear", name="other")
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1)
    with adaptation.context(["other"] * 4):
        expected = adaptation.model(x())
    new = average(adaptation)
    with new.context(["other"] * 4):
        assert torch.equal(new.model(x()), expected)


@pytest.mark.parametrize("change", [router_only, average])
def test_what_cannot_be_changed_is_refused(change):
    with pytest.raises(MethodError, match="got LoRA"):
        change(trained(LoRA(rank=2)))
    adaptation = trained()
    with adaptation.context(task=1):
        adaptation.merge()
    with pytest.raises(StateError, match="unmerge"):
        change(adaptation)


def test_several_new_tasks_at_once():
    new = router_only(trained(), tasks=3)
    assert new.summary().trainable == 2 * 3 * 12
    with new.context(task=[2, 0, 1, 1]):
        new.model(x()).square().sum().backward()
    assert all(bool(one.logits.grad.any(dim=1).all()) for one in new.adapters.values())
    with pytest.raises(MethodError, match="tasks must be at least 1"):
        router_only(new, tasks=0)


def test_heads_must_divide_both_sides():
    with pytest.raises(MethodError, match=r"one of \[1, 2, 4\]"):
        adapt(Block(), MHR(rank=2, heads=3), "all-linear")
    with pytest.raises(MethodError, match="heads must be at least 1"):
        MHR(heads=0)


@pytest.mark.slow
def test_heads_learn_what_whole_skills_cannot():
    """Tasks that mix four skills in each of four blocks: the errors on the tasks trained, and with -z on new ones."""
    script = Path(__file__).parents[2] / "benchmarks" / "routed_tasks.py"
    found = runpy.run_path(str(script))["errors"](seed=0)
    for seen_or_new in (0, 1):
        heads, whole, shared = (found[name][seen_or_new] for name in ("MHR", "Poly", "LoRA"))
        assert heads < 0.5 * whole < shared

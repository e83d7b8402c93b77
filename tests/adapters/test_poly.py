# SPDX-License-Identifier: Apache-2.0
"""Poly against explicit mixing, its limits (one LoRA), one task for each example on every kind of layer, refusals."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from rankwise import LoRA, MethodError, StateError, adapt, load
from rankwise.adapters.mhr import MHR
from rankwise.adapters.poly import Poly
from rankwise.testing import assert_close

METHOD = Poly(rank=2, skills=3, tasks=4, alpha=3.0)
TASKS = [2, 0, 2, 3]
X = torch.randn(4, 5, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
IMAGES = torch.randn(4, 4, 5, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
LAYERS = {
    "linear": (lambda: nn.Linear(8, 6), X, ["weight"], 0),
    "sequence-first": (lambda: nn.Linear(8, 6), X.transpose(0, 1), ["weight"], 1),
    "flat": (lambda: nn.Linear(8, 6), X[:, 0], ["weight"], 0),
    "conv": (lambda: nn.Conv2d(4, 6, 3, groups=2), IMAGES, ["weight"], 0),
    "embedding": (lambda: nn.Embedding(6, 4), torch.tensor([[0, 2], [1, 4], [5, 5], [3, 0]]), ["weight"], 0),
    "attention": (lambda: nn.MultiheadAttention(8, 2, batch_first=True), X, ["in_proj_weight", "out_proj"], 0),
}


def moved(adaptation, size=0.5):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in adaptation.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator).to(parameter))
    return adaptation


def adapted(method=METHOD, name="linear"):
    torch.manual_seed(0)
    make, _, targets, _ = LAYERS[name]
    layer = make().double()
    return layer, adapt(layer, method, targets)


def at(adaptation, tasks, x=X, batch_dim=0):
    with adaptation.context(task=tasks, batch_dim=batch_dim):
        layer = adaptation.model
        return layer(x, x, x)[0] if isinstance(layer, nn.MultiheadAttention) else layer(x)


def mixed_by_hand(adapter, task):
    """The factors of one task, block by block and skill by skill: A [in, r], B [r, out]."""
    heads, skills = adapter.lora_a.shape[:2]
    a_blocks, b_blocks = [], []
    for h in range(heads):
        p = [1 / (1 + torch.exp(-adapter.logits[task, h * skills + s])) for s in range(skills)]
        w = [value / (sum(p) + 1e-12) for value in p]
        a_blocks.append(sum(w[s] * adapter.lora_a[h, s] for s in range(skills)))
        b_blocks.append(sum(w[s] * adapter.lora_b[h, s] for s in range(skills)))
    return torch.cat(a_blocks, dim=0), torch.cat(b_blocks, dim=1)


@pytest.mark.parametrize("method", [METHOD, MHR(rank=2, skills=3, tasks=4, alpha=3.0, heads=2)])
def test_forward_and_gradients_are_those_of_mixing_by_hand(method):
    layer, adaptation = adapted(method)
    adapter = moved(adaptation).adapters["weight"]
    parts = []
    for x, task in zip(X, TASKS, strict=True):
        a, b = mixed_by_hand(adapter, task)
        parts.append(F.linear(x, layer.weight, layer.bias) + x @ a @ b * (3.0 / 2))
    expected, actual = torch.stack(parts), at(adaptation, TASKS)
    assert_close(actual, expected)
    tensors = list(adaptation.parameters())
    for found, wanted in zip(
        torch.autograd.grad(actual.square().sum(), tensors),
        torch.autograd.grad(expected.square().sum(), tensors),
        strict=True,
    ):
        assert_close(found, wanted)


def test_starts_at_the_base_for_every_task_with_the_published_spread():
    layer = nn.Linear(300, 100)
    base = layer(torch.ones(4, 300))
    adaptation = adapt(layer, Poly(rank=4, skills=5, tasks=4), ["weight"])
    adapter = adaptation.adapters["weight"]
    assert torch.equal(at(adaptation, [0, 1, 2, 3], torch.ones(4, 300)), base)
    assert adapter.lora_a.abs().max().item() == pytest.approx(1 / 900**0.5, rel=1e-2)
    assert adapter.logits.abs().max().item() <= 1e-3
    assert adapter.logits.unique().numel() == 20
    wide = adapt(nn.Linear(300, 100), Poly(rank=4, skills=5, init="peft"), ["weight"]).adapters["weight"]
    assert wide.lora_a.abs().max().item() == pytest.approx(1 / 300**0.5, rel=1e-2)


def test_at_the_start_lora_b_alone_has_a_gradient():
    _, adaptation = adapted()
    at(adaptation, TASKS).square().sum().backward()
    adapter = adaptation.adapters["weight"]
    assert not adapter.logits.grad.any()
    assert not adapter.lora_a.grad.any()
    assert adapter.lora_b.grad.any()


def test_one_skill_is_lora():
    layer, adaptation = adapted(Poly(rank=2, skills=1, tasks=4, alpha=3.0))
    adapter = moved(adaptation).adapters["weight"]
    with torch.no_grad():
        adapter.logits.fill_(0)
    weight = 0.5 / (0.5 + 1e-12)
    other = nn.Linear(8, 6).double()
    other.load_state_dict({"weight": layer.weight, "bias": layer.bias})
    lora = adapt(other, LoRA(rank=2, alpha=3.0), ["weight"]).adapters["weight"]
    lora.load_state_dict({"left": weight * adapter.lora_b[0, 0].mT, "right": weight * adapter.lora_a[0, 0].mT})
    assert_close(at(adaptation, TASKS), other(X))


def test_equal_logits_give_the_mean_skill_and_equal_gradients():
    layer, adaptation = adapted()
    adapter = moved(adaptation).adapters["weight"]
    with torch.no_grad():
        adapter.logits.fill_(0.7)
    mean_a, mean_b = adapter.lora_a[0].mean(0), adapter.lora_b[0].mean(0)
    output = at(adaptation, TASKS)
    assert_close(output, F.linear(X, layer.weight, layer.bias) + X @ mean_a @ mean_b * 1.5)
    output.square().sum().backward()
    assert_close(adapter.lora_b.grad[:, 1:], adapter.lora_b.grad[:, :1].expand(-1, 2, -1, -1))


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(3)), logit=st.floats(-20, 20))
def test_the_order_of_skills_means_nothing_and_weights_sum_to_one(order, logit):
    _, adaptation = adapted(MHR(rank=2, skills=3, tasks=4, heads=2))
    adapter = moved(adaptation).adapters["weight"]
    with torch.no_grad():
        adapter.logits[2, 1] = logit
        before = at(adaptation, TASKS)
        assert_close(adapter.routing(torch.arange(4)).sum(-1), torch.ones(4, 2, dtype=torch.float64))
        adapter.lora_a.copy_(adapter.lora_a[:, order])
        adapter.lora_b.copy_(adapter.lora_b[:, order])
        adapter.logits.copy_(adapter.logits.view(4, 2, 3)[..., order].reshape(4, 6))
        assert_close(at(adaptation, TASKS), before)


@pytest.mark.parametrize("method", [METHOD, MHR(rank=2, skills=3, tasks=4, heads=2)], ids=["poly", "mhr"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_mixed_batch_equals_one_by_one_and_the_merged_weight(name, method):
    _, x, _, dim = LAYERS[name]
    _, adaptation = adapted(method, name)
    moved(adaptation)
    together = at(adaptation, TASKS, x, dim)
    for example, task in enumerate(TASKS):
        alone, part = x.narrow(dim, example, 1), together.narrow(dim, example, 1)
        assert_close(at(adaptation, task, alone, dim), part)
        with adaptation.context(task=task):
            adaptation.merge()
        assert_close(at(adaptation, task, alone, dim), part)
        adaptation.unmerge()


def test_permuted_examples_permute_the_output_and_examples_may_span_rows():
    _, adaptation = adapted()
    moved(adaptation)
    order = [3, 1, 0, 2]
    assert_close(at(adaptation, [TASKS[i] for i in order], X[order]), at(adaptation, TASKS)[order])
    beams = X.repeat_interleave(2, dim=0)
    assert_close(at(adaptation, TASKS, beams)[::2], at(adaptation, TASKS))


@pytest.mark.parametrize(
    ("fields", "formula"),
    [
        ({"straight_through": True}, lambda z: (z > 0).double() / ((z > 0).double().sum(-1, keepdim=True) + 1e-12)),
        ({"normalize": "sqrt"}, lambda z: torch.sigmoid(z) * 2**0.5 / 3**0.5),
        ({"normalize": "l2"}, lambda z: z / z.square().sum(-1, keepdim=True).sqrt()),
        (
            {"shared_skill": True},
            lambda z: (
                torch.cat([z.sigmoid()[..., :2], 0 * z[..., :1] + 1], -1)
                / (1 + z.sigmoid()[..., :2].sum(-1, keepdim=True))
            ),
        ),
    ],
    ids=["straight-through", "sqrt", "l2", "shared"],
)
def test_other_routers(fields, formula):
    _, adaptation = adapted(MHR(rank=2, skills=3, tasks=4, heads=2, **fields))
    adapter = moved(adaptation, 2.0).adapters["weight"]
    assert_close(adapter.routing(torch.arange(4)), formula(adapter.logits.detach().view(4, 2, 3)))
    at(adaptation, TASKS).square().sum().backward()
    assert adapter.logits.grad[TASKS].any()
    assert not adapter.logits.grad[1].any()


def test_rounding_keeps_the_gradient_of_the_probability():
    _, adaptation = adapted(Poly(rank=2, skills=3, tasks=4, straight_through=True, normalize="sqrt"))
    adapter = moved(adaptation, 2.0).adapters["weight"]
    adapter.routing(torch.tensor([1])).sum().backward()
    p = adapter.logits[1].detach().sigmoid()
    assert_close(adapter.logits.grad[1], p * (1 - p) / 3**0.5)


def test_half_precision_skills_are_routed_in_float32():
    layer = nn.Linear(8, 6).half()
    adapter = adapt(layer, METHOD, ["weight"], dtype=torch.float16).adapters["weight"]
    with torch.no_grad():
        adapter.logits.fill_(-16)  # the sum of three such sigmoids is below float16's smallest normal number
    assert adapter.routing(torch.tensor([0])).dtype == torch.float32
    assert_close(adapter.routing(torch.tensor([0])), torch.full((1, 1, 3), 1 / 3), torch.float16)


def test_save_and_load_keep_every_task(tmp_path):
    layer, adaptation = adapted()
    moved(adaptation).save(tmp_path)
    expected = at(adaptation, TASKS)
    adaptation.remove()
    assert torch.equal(at(load(layer, tmp_path), TASKS), expected)


def test_parameter_count():
    summary = adapt(nn.Linear(24, 40), MHR(rank=3, skills=5, tasks=7, heads=4), ["weight"]).summary()
    assert summary.trainable == 5 * 3 * (24 + 40) + 7 * 4 * 5


@pytest.mark.parametrize("name", ["linear", "attention"])
@pytest.mark.parametrize("tasks", [[0, 1, 4, 0], [0, 1, -1, 0], [0.5, 1, 2, 3], 4])
def test_unknown_tasks_are_refused(name, tasks):
    _, adaptation = adapted(name=name)
    with pytest.raises(StateError, match="knows the tasks 0 to 3"):
        at(adaptation, tasks, LAYERS[name][1])


def test_tasks_that_do_not_fit_the_batch_are_refused():
    layer, adaptation = adapted()
    with pytest.raises(StateError, match="3 examples"):
        at(adaptation, [0, 1, 2])
    with pytest.raises(StateError, match="8 examples"):
        at(adaptation, [0, 1] * 4)
    with pytest.raises(StateError, match="shape"):
        at(adaptation, torch.zeros(4, 2, dtype=torch.int64))
    with pytest.raises(StateError, match="counts features"):
        at(adaptation, [0, 1], X[0, 0])
    with pytest.raises(StateError, match="'task'"):
        layer(X)
    with pytest.raises(StateError, match="'task'"):
        adaptation.merge()


def test_a_single_task_needs_no_context():
    layer, adaptation = adapted(Poly(rank=2, skills=3))
    moved(adaptation)
    assert_close(layer(X), at(adaptation, [0, 0, 0, 0]))
    with pytest.raises(StateError, match="knows the tasks 0 to 0"):
        at(adaptation, 1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"skills": 0}, "skills must be at least 1"),
        ({"tasks": 0}, "tasks must be at least 1"),
        ({"alpha": 0.0}, "alpha must be above 0"),
        ({"normalize": "l2", "shared_skill": True}, "no probability"),
    ],
)
def test_fields_out_of_range_are_refused(fields, message):
    with pytest.raises(MethodError, match=message):
        Poly(**fields)


def test_frozen_skills_that_were_never_trained_are_refused():
    with pytest.raises(MethodError, match="router_only"):
        adapt(nn.Linear(8, 6), Poly(rank=2, frozen_skills=True), ["weight"])

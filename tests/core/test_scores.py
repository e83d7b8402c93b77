# SPDX-License-Identifier: Apache-2.0
"""Scores of dense deltas against autograd on an explicit delta, and what one step counts."""

from dataclasses import dataclass
from typing import ClassVar

import jaxtyping
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from rankwise import LoRA, Method, StateError, adapt
from rankwise.core import scores
from rankwise.core.scores import Scored, stop_scores, take_scores
from rankwise.testing import assert_close
from rankwise.testing.layers import Experts, RawMatrix


@dataclass(frozen=True)
class Probe(Method):
    """A plain product that takes its scores at every step."""

    scheduled: ClassVar[bool] = True
    dropout: float = 0.0

    def adapter(self, target):
        return ProbeAdapter(target, self)

    def before_step(self, training):
        training.schedule["taken"] = take_scores(training)


class ProbeAdapter(Scored):
    def __init__(self, target, method):
        super().__init__(target)
        self.dropout, generator = method.dropout, target.generator()
        self.left = nn.Parameter(torch.randn(*target.batch, target.out_features, 2, generator=generator))
        self.right = nn.Parameter(torch.randn(*target.batch, 2, target.in_features, generator=generator))

    def factors(self):
        return self.left, self.right


class Squared(ProbeAdapter):
    """A method's own reduction."""

    def reduce(self, delta, gradient):
        return gradient.square().sum((-2, -1))


KINDS = {
    "linear": (lambda: nn.Linear(6, 5), [""]),
    "conv": (lambda: nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=1, groups=2), [""]),
    "embedding": (lambda: nn.Embedding(7, 5, padding_idx=2), [""]),
    "raw": (lambda: RawMatrix(5, 6), ["matrix"]),
    "stack": (lambda: Experts(3, 5, 6), ["up_proj"]),
    "attention": (lambda: nn.MultiheadAttention(8, 2, batch_first=True), ["in_proj_weight", "out_proj"]),
}
INPUTS = {
    "linear": (3, 2, 6),
    "conv": (3, 4, 6, 5),
    "raw": (3, 2, 6),
    "stack": (3, 2, 6),
    "attention": (3, 4, 8),
}


class Holder(nn.Module):
    """A layer whose output is bent, so that every example has a gradient of its own."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        attends = isinstance(self.layer, nn.MultiheadAttention)
        output = self.layer(x, x, x, need_weights=False)[0] if attends else self.layer(x)
        return torch.sin(output)


def inputs(kind, seed=0):
    generator = torch.Generator().manual_seed(seed)
    if kind == "embedding":
        return torch.randint(7, (3, 6), generator=generator)
    return torch.randn(INPUTS[kind], generator=generator, dtype=torch.float64)


def model_of(kind):
    model = Holder(KINDS[kind][0]()).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5)
    return model


def attached(model, kind, method=None, **options):
    names = [f"layer.{leaf}".rstrip(".") for leaf in KINDS[kind][1]]
    adaptation = adapt(model, method or Probe(), names)
    optimizer = torch.optim.SGD(adaptation.parameters(), lr=0.0)
    adaptation.attach(optimizer, **options)
    return adaptation, optimizer


def taken(adaptation):
    return torch.cat([adapter.take().flatten() for adapter in adaptation.adapters.values()])


def expected(kind, adaptation, x):
    """The scores by autograd on dense deltas that are leaves."""
    base, weights, leaves = model_of(kind), {}, []
    for adapter in adaptation.adapters.values():
        target = adapter.target
        delta = adapter.delta().detach().requires_grad_()
        name = target.name if target.name in dict(base.named_parameters()) else f"{target.name}.{target.attr}"
        weights[name] = base.get_parameter(name).detach() + target.to_storage(delta)
        leaves.append((target, delta))
    functional_call(base, weights, (x,)).sum().backward()
    return torch.cat([(d.detach() * d.grad).abs().reshape(t.matrix_shape).sum((-2, -1)).flatten() for t, d in leaves])


@pytest.mark.parametrize("kind", KINDS)
def test_a_score_is_the_sum_of_delta_times_gradient(kind):
    model = model_of(kind)
    adaptation, _ = attached(model, kind)
    x = inputs(kind)
    model(x).sum().backward()
    assert_close(taken(adaptation), expected(kind, adaptation, x))


def test_blocks_of_rows_change_nothing(monkeypatch):
    model = model_of("linear")
    adaptation, _ = attached(model, "linear")
    monkeypatch.setattr(scores, "_BLOCK", 12)
    model(inputs("linear")).sum().backward()
    assert_close(taken(adaptation), expected("linear", adaptation, inputs("linear")))


def test_calls_and_micro_batches_add_up():
    model = model_of("linear")
    adaptation, _ = attached(model, "linear")
    parts = [inputs("linear", seed) for seed in (0, 1, 2)]
    (model(parts[0]).sum() + model(parts[1]).sum()).backward()
    model(parts[2]).sum().backward()
    assert_close(taken(adaptation), sum(expected("linear", adaptation, x) for x in parts))


def test_a_penalty_on_the_factors_is_no_part_of_the_score():
    model = model_of("linear")
    adaptation, _ = attached(model, "linear")
    x = inputs("linear")
    (model(x).sum() + 5 * sum(p.square().sum() for p in adaptation.parameters())).backward()
    assert_close(taken(adaptation), expected("linear", adaptation, x))


def test_another_adapter_and_checkpointing_leave_the_score_alone():
    model = model_of("linear")
    adaptation, _ = attached(model, "linear")
    x = inputs("linear")
    model(x).sum().backward()
    alone = taken(adaptation)
    other = adapt(model, LoRA(rank=2), ["layer"], name="other")
    adaptation.detach()
    adaptation.attach(torch.optim.SGD(adaptation.parameters(), lr=0.0))
    checkpoint(model, x, use_reentrant=False).sum().backward()
    assert_close(taken(adaptation), alone)
    assert all(p.grad is not None for p in other.parameters())


def test_the_scale_of_an_adapter_is_part_of_its_delta():
    model = model_of("linear")
    adaptation, _ = attached(model, "linear")
    adaptation.scale = 0.5
    x = inputs("linear")
    model(x).sum().backward()
    found = taken(adaptation)
    adapter = adaptation.adapters["layer"]
    with torch.no_grad():
        adapter.left.mul_(0.5)
    assert_close(found, expected("linear", adaptation, x))


def test_dropout_is_part_of_the_gradient():
    model = model_of("linear")
    adaptation, _ = attached(model, "linear", Probe(dropout=0.5))
    torch.manual_seed(3)
    model(torch.ones(1, 6, dtype=torch.float64)).sum().backward()
    found = taken(adaptation)
    torch.manual_seed(3)
    dropped = torch.nn.functional.dropout(torch.ones(1, 6, dtype=torch.float64), 0.5)
    delta = adaptation.adapters["layer"].delta().detach().requires_grad_()
    base = model.layer.weight @ torch.ones(6, dtype=torch.float64) + model.layer.bias
    torch.sin(base + delta @ dropped[0]).sum().backward()
    assert_close(found, (delta.detach() * delta.grad).abs().sum().reshape(1))


def test_a_method_may_sum_something_else():
    model = model_of("linear")
    adaptation, _ = attached(model, "linear")
    adapter = adaptation.adapters["layer"]
    adapter.__class__ = Squared
    x = inputs("linear")
    model(x).sum().backward()
    delta = adapter.delta().detach().requires_grad_()
    weight = model.layer.weight.detach() + delta
    torch.sin(nn.functional.linear(x, weight, model.layer.bias)).sum().backward()
    assert_close(adapter.take(), delta.grad.square().sum())


@pytest.fixture
def unchecked():
    """No run-time type checks: torch.compile cannot trace the checker."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("kind", ["linear", "conv", "stack"])
@pytest.mark.usefixtures("unchecked")
@pytest.mark.filterwarnings("ignore:.*Function'> should not be instantiated:DeprecationWarning")  # torch's own doing
def test_a_compiled_model_scores_the_same(kind):
    torch._dynamo.reset()
    model = model_of(kind)
    adaptation, _ = attached(model, kind)
    x = inputs(kind)
    torch.compile(model, backend="aot_eager", fullgraph=True)(x).sum().backward()
    assert_close(taken(adaptation), expected(kind, adaptation, x))


def test_gradients_that_are_thrown_away_take_their_score_along():
    model = model_of("linear")
    adaptation, optimizer = attached(model, "linear")
    model(inputs("linear", 1)).sum().backward()
    optimizer.zero_grad()
    model(inputs("linear", 2)).sum().backward()
    assert_close(taken(adaptation), expected("linear", adaptation, inputs("linear", 2)))


def test_a_loss_scaler_is_taken_out_and_its_skipped_step_dropped():
    model = model_of("linear")
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    adaptation, optimizer = attached(model, "linear", scaler=scaler)
    for x in (inputs("linear", 1) * torch.inf, inputs("linear", 2)):
        scaler.scale(model(x).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    assert scaler.get_scale() == 32.0
    schedule = adaptation._installed.schedule
    assert int(schedule["step"]) == 1
    assert_close(schedule["taken"], expected("linear", adaptation, inputs("linear", 2)))


def test_nothing_is_measured_in_evaluation_or_after_the_end():
    model = model_of("linear")
    adaptation, _ = attached(model, "linear")
    model.eval()
    model(inputs("linear")).sum().backward()
    assert float(taken(adaptation)) == 0.0
    model.train()
    training = adaptation._training()
    stop_scores(training)
    model(inputs("linear")).sum().backward()
    with pytest.raises(StateError, match="no score of 'layer' is measured"):
        take_scores(training)


def test_measuring_changes_no_output_and_no_gradient():
    model = model_of("conv")
    adaptation, optimizer = attached(model, "conv")
    x = inputs("conv")
    results = []
    for _ in range(2):
        output = model(x)
        output.sum().backward()
        results.append([output.detach(), *(p.grad for p in adaptation.parameters())])
        optimizer.zero_grad()
        stop_scores(adaptation._training())
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))

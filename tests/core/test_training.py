# SPDX-License-Identifier: Apache-2.0
"""What attach does at a step: the audit, the penalty, the schedule, and what it refuses."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

from rankwise import LoRA, Method, StateError, adapt
from rankwise.core.adapter import Factored
from rankwise.testing import assert_close


@dataclass(frozen=True)
class Ridge(LoRA):
    """LoRA with a penalty, counting its own steps."""

    scheduled: ClassVar[bool] = True
    weight: float = 0.5

    def penalty(self, training):
        squares = [p.square().sum() for one in training.adapters.values() for p in one.parameters()]
        return self.weight * torch.stack(squares).sum()

    def before_step(self, training):
        assert not torch.is_grad_enabled()
        seen = training.schedule.get("seen", torch.zeros((), dtype=torch.int64))
        training.schedule["seen"] = seen + 1
        training.schedule["gradient"] = next(iter(training.adapters.values())).right.grad.clone()

    def after_step(self, training):
        training.schedule["after"] = next(iter(training.adapters.values())).right.detach().clone()


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4)).double()


def inputs(seed=0):
    return torch.randn(8, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def adapted(method, model=None):
    """An adaptation whose factors are all off zero."""
    adaptation = adapt(model or network(), method)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in adaptation.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return adaptation


def backward(adaptation, x=None, share=1.0):
    (share * adaptation.model(inputs() if x is None else x).square().sum()).backward()


def schedule(adaptation):
    return adaptation._installed.schedule


def sgd(adaptation, **options):
    return torch.optim.SGD(adaptation.parameters(), lr=0.01, **options)


def test_hooks_run_around_each_step_and_count():
    adaptation = adapted(Ridge(rank=2))
    optimizer = sgd(adaptation)
    adaptation.attach(optimizer)
    for _ in range(3):
        backward(adaptation)
        optimizer.step()
        right = adaptation.adapters["0"].right
        assert torch.equal(schedule(adaptation)["gradient"], right.grad)
        assert torch.equal(schedule(adaptation)["after"], right)
        optimizer.zero_grad()
    assert int(schedule(adaptation)["step"]) == int(schedule(adaptation)["seen"]) == 3
    adaptation.detach()
    with pytest.raises(StateError, match=r"call adaptation.attach\(optimizer\)"):
        backward(adaptation)


def test_a_penalty_by_hand_equals_one_by_attach():
    results = []
    for by_hand in (False, True):
        adaptation = adapted(Ridge(rank=2))
        optimizer = torch.optim.AdamW(adaptation.parameters(), lr=0.01)
        adaptation.attach(optimizer, penalty=not by_hand)
        for step in range(4):
            loss = adaptation.model(inputs(step)).square().sum()
            (loss + adaptation.penalty() if by_hand else loss).backward()
            optimizer.step()
            optimizer.zero_grad()
        results.append([p.detach() for p in adaptation.parameters()])
    for one, other in zip(*results, strict=True):
        assert_close(one, other)


def test_a_penalty_is_never_added_twice():
    adaptation = adapted(Ridge(rank=2))
    adaptation.attach(sgd(adaptation))
    with pytest.raises(StateError, match=r"attach\(optimizer, penalty=False\)"):
        adaptation.penalty()
    with pytest.raises(StateError, match=r"call detach\(\) first"):
        adaptation.attach(sgd(adaptation))


def test_a_method_without_a_penalty_has_penalty_zero():
    assert float(adapted(LoRA(rank=2)).penalty()) == 0.0


def test_accumulated_micro_batches_equal_one_batch():
    results = []
    for parts in ([slice(0, 8)], [slice(0, 2), slice(2, 6), slice(6, 8)]):
        adaptation = adapted(Ridge(rank=2))
        optimizer = sgd(adaptation, momentum=0.9)
        adaptation.attach(optimizer)
        for step in range(3):
            for part in parts:
                backward(adaptation, inputs(step)[part])
            optimizer.step()
            optimizer.zero_grad()
        results.append([p.detach() for p in adaptation.parameters()])
    for one, other in zip(*results, strict=True):
        assert_close(one, other)


def scaled_step(adaptation, optimizer, scaler, x):
    scaler.scale(adaptation.model(x).square().sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()


def test_a_step_that_a_scaler_skips_is_no_step_of_the_schedule():
    adaptation = adapted(Ridge(rank=2))
    optimizer, scaler = sgd(adaptation), torch.amp.GradScaler("cpu", init_scale=2.0**10)
    adaptation.attach(optimizer, scaler=scaler)
    before = [p.detach().clone() for p in adaptation.parameters()]
    scaled_step(adaptation, optimizer, scaler, inputs() * torch.inf)
    assert "step" not in schedule(adaptation)
    assert all(torch.equal(p, b) for p, b in zip(adaptation.parameters(), before, strict=True))
    scaled_step(adaptation, optimizer, scaler, inputs())
    assert int(schedule(adaptation)["step"]) == int(schedule(adaptation)["seen"]) == 1


def test_a_scaled_step_equals_a_plain_one_with_its_penalty():
    results = []
    for scaler in (None, torch.amp.GradScaler("cpu", init_scale=2.0**10)):
        adaptation = adapted(Ridge(rank=2))
        optimizer = sgd(adaptation)
        adaptation.attach(optimizer, scaler=scaler)
        if scaler is None:
            backward(adaptation)
            optimizer.step()
        else:
            scaled_step(adaptation, optimizer, scaler, inputs())
        results.append([p.detach() for p in adaptation.parameters()])
    for one, other in zip(*results, strict=True):
        assert_close(one, other)


def test_a_fused_optimizer_under_a_scaler_is_refused_where_it_would_be_wrong():
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    adaptation = adapted(Ridge(rank=2))
    optimizer = torch.optim.AdamW(adaptation.parameters(), fused=True)
    adaptation.attach(optimizer, scaler=scaler)
    with pytest.raises(StateError, match="build it with fused=False"):
        scaled_step(adaptation, optimizer, scaler, inputs())
    plain = adapted(LoRA(rank=2))
    optimizer = torch.optim.AdamW(plain.parameters(), fused=True)
    plain.attach(optimizer, scaler=scaler)
    scaled_step(plain, optimizer, torch.amp.GradScaler("cpu", init_scale=2.0**10), inputs())


def test_an_optimizer_without_the_adapters_tensors_is_refused():
    adaptation = adapted(LoRA(rank=2))
    strangers = torch.optim.SGD(network().parameters(), lr=0.1)
    with pytest.raises(StateError, match=r"does not hold 4 tensors .*0\.left, 0\.right, 2\.left, 2\.right"):
        adaptation.attach(strangers)
    with pytest.raises(StateError, match=r"does not hold 1 tensors .*2\.right"):
        adaptation.attach(torch.optim.SGD(list(adaptation.parameters())[:3], lr=0.1))


@pytest.mark.parametrize("method", [LoRA(rank=2), Ridge(rank=2)])
def test_a_cut_graph_fails_the_audit_of_the_first_step(method):
    adaptation = adapted(method)
    optimizer = sgd(adaptation)
    adaptation.attach(optimizer)
    with torch.no_grad():
        hidden = adaptation.model[:2](inputs())
    adaptation.model[2](hidden).square().sum().backward()
    with pytest.raises(StateError, match=r"2 of 4 tensors got no gradient .*0\.left, 0\.right"):
        optimizer.step()


def test_gradients_that_are_all_zero_fail_the_audit():
    adaptation = adapted(LoRA(rank=2))
    optimizer = sgd(adaptation)
    adaptation.attach(optimizer)
    adaptation.model[2].weight.zero_()
    with torch.no_grad():
        adaptation.adapters["2"].left.zero_()
    backward(adaptation)
    with pytest.raises(StateError, match=r"every gradient is exactly zero .* at 0"):
        optimizer.step()


def test_a_zero_start_passes_the_audit():
    adaptation = adapt(network(), LoRA(rank=2))
    optimizer = sgd(adaptation)
    adaptation.attach(optimizer)
    backward(adaptation)
    assert all(bool((one.right.grad == 0).all()) for one in adaptation.adapters.values())
    optimizer.step()


def test_the_audit_can_be_switched_off_and_looks_at_the_first_step_only():
    for audit, first in ((False, 0.0), (True, 1.0)):
        adaptation = adapted(LoRA(rank=2))
        optimizer = sgd(adaptation)
        adaptation.attach(optimizer, audit=audit)
        for share in (first, 0.0):
            backward(adaptation, share=share)
            optimizer.step()
            optimizer.zero_grad()


@dataclass(frozen=True)
class Pooled(Method):
    """Every adapter reads the same two factors."""

    def shared(self, targets):
        target = targets[0]
        return nn.ParameterDict(
            {"left": torch.ones(target.out_features, 2), "right": torch.ones(2, target.in_features)}
        )

    def adapter(self, target, shared):
        return PooledAdapter(target, shared)


class PooledAdapter(Factored):
    def factors(self):
        return self.shared["left"], self.shared["right"]


def test_the_audit_looks_at_shared_tensors():
    for share, refused in ((1.0, False), (0.0, True)):
        adaptation = adapt(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).double(), Pooled())
        optimizer = sgd(adaptation)
        adaptation.attach(optimizer)
        (share * adaptation.model(inputs()[:, :4]).square().sum()).backward()
        if refused:
            with pytest.raises(StateError, match=r"every gradient is exactly zero .* at shared"):
                optimizer.step()
        else:
            optimizer.step()


def test_training_a_scheduled_method_without_attach_is_refused():
    adaptation = adapted(Ridge(rank=2))
    with pytest.raises(StateError, match="Ridge changes over training"):
        adaptation.model(inputs())
    with torch.no_grad():
        adaptation.model(inputs())
    adaptation.model.eval()(inputs())
    adaptation.active = False
    adaptation.model.train()(inputs())


def test_a_step_under_no_grad_still_has_its_penalty():
    adaptation = adapted(Ridge(rank=2))
    optimizer = sgd(adaptation)
    adaptation.attach(optimizer)
    backward(adaptation)
    right = adaptation.adapters["0"].right
    expected = right.grad + 2 * 0.5 * right.detach()
    with torch.no_grad():
        optimizer.step()
    assert_close(schedule(adaptation)["gradient"], expected)

# SPDX-License-Identifier: Apache-2.0
"""IncreLoRA against a reference of growing lists of parameters, and its own invariants."""

import copy

import pytest
import torch
from growing_ranks import fitted
from torch import nn
from torch.nn import functional as F

from growing_runs import PEAK, Run, batch, network, share
from rankwise import MethodError, StateError, adapt, adaptations, load
from rankwise.adapters.increlora import IncreLoRA
from rankwise.testing import assert_close
from rankwise.testing.layers import Experts


class Lists:
    """One layer whose components are parameters of their own; `start` holds the vectors they begin with."""

    def __init__(self, layer, start, method):
        self.layer, self.start, self.method = layer, start, method
        self.left, self.e, self.right, self.rank = [], [], [], method.rank
        self.mean = self.doubt = 0.0
        for _ in range(method.rank):
            self.append(0.0, vectors=True, entry=True)

    def append(self, value, *, vectors, entry):
        left, right = self.start
        index = len(self.e)
        self.left.append(nn.Parameter(left[:, index : index + 1].clone(), requires_grad=vectors))
        self.right.append(nn.Parameter(right[index : index + 1].clone(), requires_grad=vectors))
        self.e.append(nn.Parameter(torch.full((1, 1), value, dtype=torch.float64), requires_grad=entry))

    def reserve(self):
        advance = self.method.advance_learn
        for _ in range(self.method.increment):
            self.append(1e-5 if advance else 0.0, vectors=advance, entry=False)
        k = self.method.increment
        return [*self.left[-k:], *self.right[-k:]] if advance else []

    def grow(self):
        k = self.method.increment
        joined = [*self.e[-k:]] if self.method.advance_learn else [*self.e[-k:], *self.left[-k:], *self.right[-k:]]
        for parameter in joined:
            parameter.requires_grad_(True)
        self.rank += k
        return [*joined, *self.reserve()]

    def __call__(self, x):
        divisor = self.method.target_rank if self.method.keep_function else self.rank
        product = torch.cat(self.left, 1) @ (torch.cat(self.right, 0) * torch.cat(self.e, 0))
        self.delta = product * self.method.alpha / (divisor + 1e-5)
        self.delta.retain_grad()
        return F.linear(x, self.layer.weight + self.delta, self.layer.bias)

    def score(self):
        total = (self.delta.detach().abs() * self.delta.grad.abs()).sum() / self.delta.numel() ** 0.5
        self.mean = self.method.beta1 * self.mean + (1 - self.method.beta1) * total
        self.doubt = self.method.beta2 * self.doubt + (1 - self.method.beta2) * (total - self.mean).abs()
        return float(self.mean * self.doubt)

    def distance(self):
        left, right = torch.cat(self.left, 1), torch.cat(self.right, 0)
        eye = torch.eye(len(self.e), dtype=torch.float64)
        return torch.linalg.matrix_norm(left.T @ left - eye) + torch.linalg.matrix_norm(right @ right.T - eye)


def reference(method, length, starts, optimizer_class):
    """The method with lists and an optimizer group for each event; the deltas at the end and the ranks over time."""
    model = network().requires_grad_(False)
    layers = [Lists(layer, start, method) for layer, start in zip([model[0], model[2], model[4]], starts, strict=True)]
    first = [p for one in layers for p in (*one.left, *one.e, *one.right)]
    optimizer = optimizer_class(first, lr=PEAK, weight_decay=0.05)
    begun, history = [0], []
    target = method.target_rank * len(layers)

    def join(parameters, step):
        if parameters:
            optimizer.add_param_group({"params": parameters})
            begun.append(step + 1 if method.total_steps else 0)

    for step in range(length):
        for group, start in zip(optimizer.param_groups, begun, strict=True):
            group["lr"] = PEAK * share(step - start, length - start, method.init_warmup)
        x, y = batch(step)
        output = layers[2](torch.tanh(layers[1](torch.tanh(layers[0](x)))))
        penalty = method.orthogonality * sum(one.distance() for one in layers) / (2 * len(layers))
        (F.mse_loss(output, y) + penalty).backward()
        if step == 0:
            join([p for one in layers for p in one.reserve()], step)
        if sum(one.rank for one in layers) < target:
            order = torch.tensor([one.score() for one in layers]).argsort(descending=True).tolist()
            if step > method.init_warmup and step % method.incre_interval == 0:
                join([p for index in order[: method.top_h] for p in layers[index].grow()], step)
                if sum(one.rank for one in layers) >= target:
                    for p in [p for one in layers for p in one.e[-method.increment :]]:
                        p.data.zero_()
        optimizer.step()
        optimizer.zero_grad()
        history.append([one.rank for one in layers])
    for one in layers:
        one(torch.zeros(1, one.layer.in_features, dtype=torch.float64))
    return [one.delta.detach() for one in layers], history


def small(**fields):
    given = {"target_rank": 3, "top_h": 2, "init_warmup": 5, "incre_interval": 8, "total_steps": 50}
    return IncreLoRA(**given | fields)


@pytest.mark.parametrize(
    ("fields", "length", "optimizer"),
    [
        ({}, 50, torch.optim.AdamW),
        pytest.param(
            {"init_warmup": 15, "incre_interval": 20, "total_steps": 200},
            200,
            torch.optim.AdamW,
            marks=pytest.mark.slow,
        ),
        ({}, 50, torch.optim.Adam),
        ({"total_steps": None}, 50, torch.optim.AdamW),
        ({"advance_learn": False}, 50, torch.optim.AdamW),
        ({"incre_rank_num": 2, "top_h": 1, "keep_function": True}, 50, torch.optim.AdamW),
    ],
)
def test_training_equals_growing_lists_of_parameters(fields, length, optimizer):
    method = small(**fields)
    run = Run(method, length, optimizer)
    starts = [(one.left.detach().clone(), one.right.detach().clone()) for one in run.adaptation.adapters.values()]
    history = run.train(length)
    deltas, expected = reference(method, length, starts, optimizer)
    assert history == expected
    assert sum(history[-1]) == 9
    for delta, wanted in zip(run.deltas(), deltas, strict=True):
        torch.testing.assert_close(delta, wanted, rtol=1e-8, atol=1e-8)  # hundreds of steps of two programs


def test_it_starts_at_the_base_and_the_reserve_moves_it_by_next_to_nothing():
    run = Run(small(), 50)
    x, _ = batch(0)
    assert torch.equal(run.model(x), network()(x))
    run.schedule = torch.optim.lr_scheduler.LambdaLR(run.optimizer, lambda t: 0.0)
    run.train(1)
    for one in run.adaptation.adapters.values():
        bound = 1e-5 * 16 * one.left[:, 1].norm() * one.right[1].norm()
        assert 0 < one.delta().norm() <= bound


def test_the_reserve_learns_ahead_with_small_gradients_and_a_fixed_e():
    run = Run(small(), 50)
    run.train(3)
    x, y = batch(3)
    F.mse_loss(run.model(x), y).backward()
    for one in run.adaptation.adapters.values():
        assert float(one.e.grad[0]) != 0
        assert bool((one.e.grad[1:] == 0).all())
        ratio = one.right.grad[1].norm() / one.right.grad[0].norm()
        assert 0 < ratio < 1e3 * 1e-5 / one.e.detach()[0].abs()
        assert bool((one.right.grad[2:] == 0).all())
        assert bool((one.left.grad[:, 2:] == 0).all())


@pytest.mark.parametrize("keep", [False, True])
def test_growth_shrinks_the_delta_by_the_ranks_unless_the_function_is_kept(keep):
    run = Run(small(keep_function=keep, top_h=1), 50)
    run.train(8)
    before, ranks = run.deltas(), [1, 1, 1]
    for group in run.optimizer.param_groups:
        group["initial_lr"] = 0.0
    run.schedule = torch.optim.lr_scheduler.LambdaLR(run.optimizer, lambda t: 0.0)
    (after,) = run.train(1)
    assert sum(after) == 4
    for delta, old, rank, grown in zip(run.deltas(), before, ranks, after, strict=True):
        expected = old if keep else old * rank / grown
        assert (delta - expected).norm() <= 1e-3 * old.norm()
        assert keep or grown == rank or (delta - old).norm() > 0.4 * old.norm()


def test_the_budget_is_met_exactly_and_no_limit_is_passed():
    run = Run(small(target_rank=4, incre_rank_num=3, top_h=2, max_rank=5, incre_interval=3, init_warmup=0), 50)
    history = run.train(20)
    assert sum(history[-1]) == 12
    assert all(sum(ranks) <= 12 and max(ranks) <= 5 for ranks in history)
    for one in run.adaptation.adapters.values():
        assert torch.linalg.matrix_rank(one.delta()) <= one.rank


def test_components_that_wait_never_move():
    run = Run(small(), 50)
    starts = [copy.deepcopy(one.state_dict()) for one in run.adaptation.adapters.values()]
    run.train(30)
    for one, start in zip(run.adaptation.adapters.values(), starts, strict=True):
        waiting = one.born_vectors < 0
        assert bool(waiting.any())
        assert torch.equal(one.right[waiting], start["right"][waiting])
        assert torch.equal(one.left[:, waiting], start["left"][:, waiting])
        assert bool((one.e[one.born_e < 0] == 0).all())


def test_a_run_that_stops_in_the_middle_of_growth_goes_on_with_the_same_bits(tmp_path):
    whole = Run(small(), 50)
    whole.train(20)
    parts = Run(small(), 50)
    parts.train(13)
    parts.adaptation.save(tmp_path)
    saved = copy.deepcopy((parts.optimizer.state_dict(), parts.schedule.state_dict()))
    again = Run(small(), 50)
    again.adaptation.remove()
    again.adaptation, again.step = load(again.model, tmp_path), 13
    again.optimize(small(), 50)
    again.optimizer.load_state_dict(saved[0])
    again.schedule.load_state_dict(saved[1])
    again.train(7)
    for one, other in zip(whole.adaptation.adapters.values(), again.adaptation.adapters.values(), strict=True):
        assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


def test_a_copy_goes_its_own_way():
    run = Run(small(), 50)
    run.train(10)
    twin = copy.deepcopy(run.model)
    before = run.deltas()
    assert all(torch.equal(p, q) for p, q in zip(twin.parameters(), run.model.parameters(), strict=True))
    with pytest.raises(StateError, match="IncreLoRA changes over training"):
        twin(batch(0)[0])
    other = adaptations(twin)["default"]
    optimizer = torch.optim.AdamW(other.parameters(), lr=PEAK)
    other.attach(optimizer)
    twin(batch(10)[0]).square().sum().backward()
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(run.deltas(), before, strict=True))


def test_every_matrix_of_a_stack_grows_by_itself():
    stack = Experts(4, 5, 6).double()
    with torch.no_grad():
        stack.up_proj.copy_(torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0)))
    adaptation = adapt(stack, small(target_rank=2, top_h=1, init_warmup=0, incre_interval=1), ["up_proj"])
    optimizer = torch.optim.AdamW(adaptation.parameters(), lr=PEAK)
    adaptation.attach(optimizer)
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (adapter,) = adaptation.adapters.values()
    totals = []
    for _ in range(6):
        stack(x).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        totals.append(int(adapter.rank.sum()))
    assert totals == [4, 5, 6, 7, 8, 8]
    assert adapter.rank.shape == (4,)
    stack.eval()
    output = stack(x)
    adaptation.merge()
    assert_close(stack(x), output)


def test_scores_stop_when_the_budget_is_met():
    run = Run(small(target_rank=2, incre_interval=3, init_warmup=0), 50)
    run.train(6)
    assert all(one.probe is not None for one in run.adaptation.adapters.values())
    run.train(2)
    assert all(one.probe is None for one in run.adaptation.adapters.values())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"target_rank": 1}, "grows from rank = 1 to a mean of target_rank = 1"),
        ({"init_warmup": 100, "incre_interval": 100, "total_steps": 200}, "first grow in step 200"),
        ({"init_warmup": 9, "incre_interval": 7, "total_steps": 14}, "first grow in step 14"),
        ({"max_rank": 7}, "max_rank 7 is below target_rank 8"),
        ({"incre_rank_num": 0}, "incre_rank_num must be at least 1"),
        ({"top_h": 0}, "top_h must be at least 1"),
        ({"beta1": 1.0}, r"beta1 must be in \[0, 1\)"),
        ({"score_norm": "max"}, "score_norm must be"),
    ],
)
def test_fields_out_of_range_are_refused(fields, message):
    with pytest.raises(MethodError, match=message):
        IncreLoRA.from_fields(fields)


def test_a_layer_too_small_for_the_rank_is_refused():
    with pytest.raises(MethodError, match=r"target_rank 6 is above min\(out, in\) = 5 of '4' \(5 x 6\)"):
        adapt(network(), IncreLoRA(target_rank=6))
    with pytest.raises(MethodError, match=r"max_rank 6 is above min\(out, in\) = 5"):
        adapt(network(), IncreLoRA(target_rank=4, max_rank=6))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_growth_finds_where_rank_is_needed(seed):
    growing = IncreLoRA(target_rank=3, init_warmup=10, incre_interval=10, top_h=2, total_steps=300)
    fixed = IncreLoRA(rank=3, target_rank=4, init_warmup=300)
    (grown, ranks), (even, _) = fitted(growing, seed, 300), fitted(fixed, seed, 300)
    assert sum(ranks) == 24
    assert sum(ranks[-2:]) - 2 >= 0.7 * (24 - 8)
    assert even > 1.5 * grown

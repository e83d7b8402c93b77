# SPDX-License-Identifier: Apache-2.0
"""TriAdaptLoRA against a reference of growing lists of parameters, numbers of the official code, and its invariants."""

import copy

import pytest
import torch
from growing_ranks import fitted
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from growing_runs import LENGTH, PEAK, Run, batch, network, small
from random_layers import Holder, draw, filled, moved
from rankwise import MethodError, adapt, load
from rankwise.adapters.triadaptlora import TriAdaptLoRA
from rankwise.core.rows import FROZEN
from rankwise.core.training import Training
from rankwise.testing import assert_close
from rankwise.testing.layers import Experts


def one(method, rank=None, out=5, in_features=6):
    """A linear layer with the method on it away from its start, at a rank, and its adapter."""
    model = Holder(filled(nn.Linear(in_features, out)))
    adaptation = moved(adapt(model, method, ["layer"]))
    (adapter,) = adaptation.adapters.values()
    if rank is not None:
        adapter.grow(torch.tensor(rank), 1)
    return model, adaptation, adapter


@pytest.mark.parametrize("init", ["paper", "c_zero"])
def test_it_starts_at_the_base_and_every_tensor_learns_within_two_steps(init):
    run = Run(small(init=init, init_warmup=0), LENGTH)
    x, y = batch(0)
    assert torch.equal(run.model(x), network()(x))
    F.mse_loss(run.model(x), y).backward()
    for one in run.adaptation.adapters.values():
        reached = {key for key, p in one.named_parameters() if bool((p.grad != 0).any())}
        assert reached == ({"left"} if init == "paper" else {"lower", "upper"})
    run.optimizer.zero_grad()
    run.optimizer.param_groups[0]["lr"] = PEAK  # the schedule starts at 0
    run.train(1)
    F.mse_loss(run.model(x), y).backward()
    for one in run.adaptation.adapters.values():
        assert all(bool((p.grad != 0).any()) for p in one.parameters())


# what the official layer gives for these tensors: variant "single" at rank 3, and "block" that grew from 1 by 2
OFFICIAL = {
    False: (
        [
            [40.26653244489185, 0.39999866667111206, 13.999953333488888, 32.8665571114763],
            [5.933313555621481, 5.599981333395555, 7.4999750000833325, -0.9333302222325928],
            [1.4666617777940736, -0.8666637777874079, 16.86661044463185, 2.8333238889203702],
        ],
        2.8896366553599777,
    ),
    True: (
        [
            [40.26653244489185, 4.133319555601481, 21.466595111349626, 29.133236222545925],
            [12.06662644457852, 9.599968000106665, 6.299979000070001, -0.3333322222259253],
            [13.733287555708145, 3.399988666704444, 6.9999766667444465, 7.766640777864074],
        ],
        4.944694126030447,
    ),
}


@pytest.mark.parametrize("blocks", [False, True])
def test_delta_and_strength_are_those_of_the_official_code(blocks):
    _, _, adapter = one(small(blocks=blocks, incre_rank_num=2), 3, out=3, in_features=4)
    index = torch.arange(1.0, 4, dtype=torch.float64)
    with torch.no_grad():
        adapter.lower.copy_(index[:, None] + index / 10)
        adapter.upper.copy_(2 - index[:, None] * index / 10)
        adapter.left.copy_(torch.tensor([[1, 0, 2], [-1, 1, 0.5], [0.5, 2, -1]]))
        adapter.right.copy_(torch.tensor([[1, -2, 0.5, 3], [0, 1, 2, -1], [2, 1, -1, 0.5]]))
    delta, strength = OFFICIAL[blocks]
    assert_close(adapter.delta(), torch.tensor(delta, dtype=torch.float64))
    assert adapter.strength().item() == pytest.approx(strength)


@pytest.mark.parametrize(
    ("step", "left", "linear", "exponential"),
    [
        (101, 12, 1, 1),
        (150, 56, 3, 1),
        (200, 56, 6, 1),
        (350, 55, 15, 3),
        (600, 52, 28, 8),
        (800, 41, 31, 17),
        (1000, 56, 56, 56),
        (1300, 34, 45, 110),  # after the end, where the budget decides
    ],
)
def test_as_many_weights_grow_as_in_the_official_code(step, left, linear, exponential):
    fields = {"init_warmup": 100, "total_steps": 1000}
    assert TriAdaptLoRA(**fields).how_many(step, left) == linear
    assert TriAdaptLoRA(rank_growth_model="exponential", **fields).how_many(step, left) == exponential


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 3), st.floats(-2, 2))
def test_a_diagonal_entry_is_a_sum_of_two_parameters(index, shift):
    _, _, adapter = one(small(), 4)
    before = adapter.delta()
    lower, upper = torch.autograd.grad((before * draw(5, 6, seed=1)).sum(), [adapter.lower, adapter.upper])
    assert torch.equal(lower.diagonal(dim1=-2, dim2=-1)[:4], upper.diagonal(dim1=-2, dim2=-1)[:4])
    assert bool((lower.diagonal(dim1=-2, dim2=-1)[:4] != 0).all())
    with torch.no_grad():
        adapter.lower[index, index] -= shift
        adapter.upper[index, index] += shift
    assert_close(adapter.delta(), before)


def test_the_core_is_full_and_each_triangle_has_one_source():
    _, _, adapter = one(small(), 4)
    core = adapter.core(adapter.lower, adapter.upper)
    assert bool((core[:4, :4] != 0).all())
    assert int((core != 0).sum()) == 16
    ones = torch.ones_like(core)
    assert torch.equal(adapter.core(ones, 0 * ones)[:4, :4], torch.ones(4, 4).tril().double())
    assert torch.equal(adapter.core(0 * ones, ones)[:4, :4], torch.ones(4, 4).triu().double())


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_so_many_parameters_act(rank):
    _, _, adapter = one(small(), rank)
    gradients = torch.autograd.grad((adapter.delta() * draw(5, 6, seed=1)).sum(), [*adapter.parameters()])
    assert sum(int((g != 0).sum()) for g in gradients) == rank * (5 + 6) + rank * (rank + 1)


@pytest.mark.parametrize("blocks", [False, True])
def test_layer_dense_delta_and_merged_weight_agree(blocks):
    model, adaptation, adapter = one(small(blocks=blocks, incre_rank_num=2), 4)
    model.eval()
    x = draw(3, 6, seed=2)
    core = adapter.core(adapter.lower, adapter.upper)
    dense = adapter.left @ core @ adapter.right * 4.0 / (4 + 1e-5)
    output = model(x)
    with adaptation.disabled():
        base = model(x)
    torch.testing.assert_close(output, base + x @ dense.T, rtol=1e-10, atol=1e-10)
    assert (output - base).norm() > 0.1
    adaptation.merge()
    torch.testing.assert_close(model(x), output, rtol=1e-10, atol=1e-10)


def test_with_the_identity_as_core_it_is_lora():
    _, _, adapter = one(small(alpha=6.0), 3)
    with torch.no_grad():
        adapter.lower.copy_(torch.eye(5))
        adapter.upper.zero_()
    assert_close(adapter.delta(), 6.0 / (3 + 1e-5) * adapter.left[:, :3] @ adapter.right[:3])


def grown_once(**fields):
    """A run with all vectors of unit size, its deltas before and after a growth without learning, and the ranks."""
    run = Run(small(**fields), LENGTH)
    for one in run.adaptation.adapters.values():
        for parameter in one.parameters():
            acts = (
                one.first(one.rank) if parameter is one.left or parameter is one.upper else one.first(one.rank)[:, None]
            )
            parameter.data += acts * draw(*parameter.shape, seed=4)
    run.train(8)
    before = {key: value.clone() for key, value in snapshot(run).items()}, run.deltas()
    run.optimizer.param_groups[0]["initial_lr"] = 0.0
    run.schedule = torch.optim.lr_scheduler.LambdaLR(run.optimizer, lambda t: 0.0)
    held = [*run.adaptation.parameters()]
    (ranks,) = run.train(1)
    assert sum(ranks) == 4
    assert all(a is b for a, b in zip(held, run.adaptation.parameters(), strict=True))
    return run, before, ranks


def snapshot(run):
    return {f"{i}{key}": p for i, a in enumerate(run.adaptation.adapters.values()) for key, p in a.named_parameters()}


@pytest.mark.parametrize(
    ("fields", "keeps", "noise"),
    [({}, False, 1e-3), ({"init": "c_zero"}, False, 0.0), ({"init": "c_zero", "fixed_scale": True}, True, 0.0)],
)
def test_growth_changes_the_delta_by_the_divisor_and_a_little_noise(fields, keeps, noise):
    run, (values, deltas), ranks = grown_once(**fields)
    for delta, old, rank in zip(run.deltas(), deltas, ranks, strict=True):
        expected = old if keeps else old * (1 + 1e-5) / (rank + 1e-5)
        assert (delta - expected).norm() <= (noise if rank > 1 else 0) * old.norm() + 1e-12
        assert keeps or rank == 1 or (delta - old).norm() > 0.4 * old.norm()
    assert all(torch.equal(value, values[key]) for key, value in snapshot(run).items())


def test_a_component_that_joins_leaves_the_optimizer_state_of_the_others_alone():
    run, _, ranks = grown_once()
    for one, rank in zip(run.adaptation.adapters.values(), ranks, strict=True):
        moments = run.optimizer.state[one.right]["exp_avg"]
        assert bool((moments[0] != 0).all())
        assert bool((moments[1:] == 0).all())
        assert one.born_vectors[:rank].tolist() == [0, 9][:rank]
        assert bool((one.born_vectors[rank:] == FROZEN).all())


def test_a_weight_that_just_grew_does_not_grow_again_unless_its_core_does():
    adaptation = adapt(network(), small(target_rank=4))
    training = Training("default", adaptation._installed, dict(adaptation.adapters))
    adapters = list(adaptation.adapters.values())
    for adapter in adapters:
        adapter.lower.data.fill_(1.0)
        adapter.upper.data.fill_(1.0)  # ||C|| / n is 2 at rank 1, sqrt(10) / 2 at rank 2, sqrt(18) / 3 at rank 3
    adaptation.method.begin(training)
    adapters[0].grow(torch.tensor(2), 1)
    assert_close(adaptation.method.ranking(training), torch.tensor([10**0.5 / 2 - 2, 0, 0], dtype=torch.float64))
    adapters[1].grow(torch.tensor(2), 1)
    scores = adaptation.method.ranking(training)
    assert_close(scores, torch.tensor([0, 10**0.5 / 2 - 2, 0], dtype=torch.float64))
    assert scores.argmax() != 1
    adapters[1].lower.data.mul_(1.5)
    adapters[1].upper.data.mul_(1.5)
    assert adaptation.method.ranking(training).argmax() == 1


@pytest.mark.parametrize("fields", [{}, {"incre_rank_num": 3}, {"incre_rank_num": 3, "blocks": True}, {"max_rank": 4}])
def test_the_budget_is_met_exactly_and_no_limit_is_passed(fields):
    run = Run(small(target_rank=4, init_warmup=0, incre_interval=2, **fields), LENGTH)
    history = run.train(24)
    assert sum(history[-1]) == 12
    limits = [fields.get("max_rank") or one.limit for one in run.adaptation.adapters.values()]
    assert all(sum(ranks) <= 12 and all(r <= most for r, most in zip(ranks, limits, strict=True)) for ranks in history)
    for one, rank in zip(run.adaptation.adapters.values(), history[-1], strict=True):
        assert torch.linalg.matrix_rank(one.delta()) <= rank


def test_of_equal_scores_the_first_weights_grow():
    run = Run(small(init="c_zero"), LENGTH)
    run.schedule = torch.optim.lr_scheduler.LambdaLR(run.optimizer, lambda t: 0.0)
    for group in run.optimizer.param_groups:
        group["lr"] = group["initial_lr"] = 0.0
    assert run.train(13)[-1] == [3, 1, 1]  # with C = 0 no core ever gains or loses


def test_the_seed_decides_everything_and_the_global_generator_nothing():
    ends = []
    for seed, noise in ((0, 1), (0, 2), (1, 1)):
        run = Run(small(init_warmup=1, incre_interval=2), LENGTH)
        run.adaptation.remove()
        run.adaptation = adapt(run.model, small(init_warmup=1, incre_interval=2), seed=seed)
        run.optimize(run.adaptation.method, LENGTH)
        torch.manual_seed(noise)
        run.train(12)
        ends.append(torch.cat([delta.flatten() for delta in run.deltas()]))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_components_that_wait_never_move():
    run = Run(small(), LENGTH)
    starts = [copy.deepcopy(one.state_dict()) for one in run.adaptation.adapters.values()]
    run.train(20)
    for one, start in zip(run.adaptation.adapters.values(), starts, strict=True):
        waiting = one.born_vectors < 0
        assert bool(waiting.any())
        for key in ("right", "lower"):
            assert torch.equal(getattr(one, key)[waiting], start[key][waiting])
        for key in ("left", "upper"):
            assert torch.equal(getattr(one, key)[:, waiting], start[key][:, waiting])


def test_a_run_that_stops_between_two_events_goes_on_with_the_same_bits(tmp_path):
    whole = Run(small(), LENGTH)
    whole.train(20)
    parts = Run(small(), LENGTH)
    parts.train(14)
    parts.adaptation.save(tmp_path)
    saved = copy.deepcopy((parts.optimizer.state_dict(), parts.schedule.state_dict()))
    again = Run(small(), LENGTH)
    again.adaptation.remove()
    again.adaptation, again.step = load(again.model, tmp_path), 14
    again.optimize(small(), LENGTH)
    again.optimizer.load_state_dict(saved[0])
    again.schedule.load_state_dict(saved[1])
    again.train(6)
    assert sum(int(one.rank) for one in again.adaptation.adapters.values()) > 3
    for one, other in zip(whole.adaptation.adapters.values(), again.adaptation.adapters.values(), strict=True):
        assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


def test_every_matrix_of_a_stack_grows_by_itself():
    stack = filled(Experts(4, 5, 6))
    adaptation = adapt(stack, small(target_rank=2, init_warmup=0, incre_interval=1), ["up_proj"])
    optimizer = torch.optim.AdamW(adaptation.parameters(), lr=PEAK)
    adaptation.attach(optimizer)
    (adapter,) = adaptation.adapters.values()
    totals = []
    for _ in range(6):
        stack(draw(8, 6)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        totals.append(int(adapter.rank.sum()))
    assert totals == [4, 5, 6, 7, 8, 8]
    stack.eval()
    output = stack(draw(8, 6))
    adaptation.merge()
    assert_close(stack(draw(8, 6)), output)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank_growth_model": "non-linear"}, "TriAdaptLoRA.rank_growth_model must be"),
        ({"init": "bc_zero"}, "TriAdaptLoRA.init must be"),
        ({"target_rank": 1}, "TriAdaptLoRA grows from rank = 1 to a mean of target_rank = 1"),
        ({"init_warmup": 100, "total_steps": 200}, "TriAdaptLoRA would first grow in step 200"),
        ({"incre_interval": 0}, "TriAdaptLoRA.incre_interval must be at least 1"),
    ],
)
def test_fields_out_of_range_are_refused(fields, message):
    with pytest.raises(MethodError, match=message):
        TriAdaptLoRA.from_fields(fields)


def test_the_length_of_training_must_be_known():
    with pytest.raises(MethodError, match="total_steps must be given: the number of optimizer steps"):
        adapt(network(), TriAdaptLoRA(target_rank=2))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_growth_that_keeps_the_function_beats_the_same_rank_everywhere(seed):
    events = {"init_warmup": 10, "incre_interval": 10, "total_steps": 300}
    method = TriAdaptLoRA(target_rank=3, init="c_zero", fixed_scale=True, **events)
    left, ranks = fitted(method, seed, 300)
    assert sum(ranks) == 24
    assert left < 0.3  # rank 3 everywhere leaves (6 - 3 + 8 - 3) / 24 = 0.333 at best

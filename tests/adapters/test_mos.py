# SPDX-License-Identifier: Apache-2.0
"""MoS against explicit loops over shards, its limits (LoRA, pure sharing), and where gradients go."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from rankwise import LoRA, MethodError, adapt, load
from rankwise.adapters.mos import MoS, never_selected
from rankwise.testing import assert_close
from rankwise.testing.layers import Experts


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up_proj, self.down_proj = nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, x):
        return x + self.down_proj(torch.tanh(self.up_proj(x)))


def network(depth=4):
    torch.manual_seed(0)
    return nn.Sequential(*[Block() for _ in range(depth)]).double()


def inputs(seed=0):
    return torch.randn(5, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def perturbed(adaptation):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in adaptation.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return adaptation


def small(**fields):
    return MoS(**{"rank": 4, "equivalent_rank": 2, "private_rank": 1, "shards": 4} | fields)


def by_loops(adapter, method, rank):
    """The delta from the pools, shard by shard."""
    pools, group, shards = adapter.shared, adapter.group, method.shards
    left, right = pools.left[group].detach(), pools.right[group].detach()
    delta = torch.zeros(adapter.target.shape, dtype=left.dtype)
    for j in range(rank):
        row = [float(n) for s in range(shards) for n in right[adapter.index_right[j * shards + s]]]
        column = [float(n) for s in range(shards) for n in left[adapter.index_left[j * shards + s]]]
        delta += method.alpha / rank * torch.outer(delta.new_tensor(column), delta.new_tensor(row))
    return delta


@settings(max_examples=10, deadline=None)
@given(
    rank=st.sampled_from([2, 3, 5, None]),
    private=st.integers(0, 1),
    shards=st.sampled_from([1, 2, 4]),
    dissociated=st.booleans(),
    seed=st.integers(0, 99),
)
def test_factors_equal_loops_over_shards(rank, private, shards, dissociated, seed):
    method = small(rank=rank, private_rank=private, shards=shards, pair_dissociation=dissociated, index_seed=seed)
    adaptation = perturbed(adapt(network().float(), method, dtype=torch.float64))
    for adapter in adaptation.adapters.values():
        assert_close(adapter.delta(), by_loops(adapter, method, rank or (2 - private) * 4 + private))
        assert len(adapter.index_left.unique()) == len(adapter.index_left)
        assert len(adapter.index_right.unique()) == len(adapter.index_right)


def test_it_starts_at_the_base_with_the_pools_alone_to_train():
    model = network()
    adaptation = adapt(model, small())
    assert torch.equal(model(inputs()), network()(inputs()))
    names = dict(adaptation.named_parameters())
    kinds = ["up_proj-12x8", "down_proj-8x12"]
    assert set(names) == {f"shared.{side}.{kind}" for side in ("left", "right") for kind in kinds}
    assert sum(p.numel() for p in names.values()) == adaptation.summary().trainable == 2 * 4 * (8 + 12) * 2
    optimizer = torch.optim.SGD(adaptation.parameters(), lr=0.1)
    adaptation.attach(optimizer)
    model(inputs()).square().sum().backward()
    optimizer.step()


def test_with_private_vectors_alone_it_is_lora():
    results = []
    for method in (MoS(rank=2, equivalent_rank=2, private_rank=2, shards=1, alpha=16), LoRA(rank=2, alpha=16)):
        model = network()
        adaptation = adapt(model, method, seed=3)
        optimizer = torch.optim.AdamW(adaptation.parameters(), lr=0.05)
        for step in range(5):
            model(inputs(step)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        results.append([one.delta().detach() for one in adaptation.adapters.values()])
    for one, other in zip(*results, strict=True):
        assert_close(one, other)
        assert one.norm() > 0


def test_private_shards_belong_to_one_layer_and_public_ones_may_repeat():
    adaptation = adapt(network(), small(shards=2))
    group = [one for name, one in adaptation.adapters.items() if name.endswith("up_proj")]
    assert group[0].public == 1 * 4 * 2
    for side in ("index_left", "index_right"):
        own = torch.cat([getattr(one, side)[-2:] for one in group])
        assert own.tolist() == list(range(8, 16))
        public = torch.cat([getattr(one, side)[:-2] for one in group])
        assert int(public.max()) < 8
        assert len(public.unique()) < len(public)


def test_a_pools_gradient_is_the_sum_over_the_layers_that_use_it():
    model, method = network(), small()
    adaptation = perturbed(adapt(model, method))
    model(inputs()).square().sum().backward()
    pools = adaptation.shared
    deltas = {name: one.delta().detach().requires_grad_() for name, one in adaptation.adapters.items()}
    base = network()
    weights = {f"{name}.weight": base.get_parameter(f"{name}.weight").detach() + d for name, d in deltas.items()}
    functional_call(base, weights, (inputs(),)).square().sum().backward()
    expected = {side: {g: torch.zeros_like(p) for g, p in getattr(pools, side).items()} for side in ("left", "right")}
    for name, one in adaptation.adapters.items():
        left, right = (factor.detach() for factor in one.factors())
        for side, gradient, index in (
            ("left", 16 / 4 * right @ deltas[name].grad.T, one.index_left),
            ("right", left.T @ deltas[name].grad, one.index_right),
        ):
            for row, part in zip(index.tolist(), gradient.reshape(len(index), -1), strict=True):
                expected[side][one.group][row] += part
                assert bool((part != 0).any())
    for side in ("left", "right"):
        for group, pool in getattr(pools, side).items():
            assert_close(pool.grad, expected[side][group])


def test_a_private_shard_gets_its_gradient_from_its_layer_alone():
    model = network()
    adaptation = perturbed(adapt(model, small(), ["up_proj"]))
    adaptation.adapters["2.up_proj"].delta().square().sum().backward()
    for pool in adaptation.parameters():
        rows = [row for row in range(16, 32) if bool((pool.grad[row] != 0).any())]
        assert rows == [24, 25, 26, 27]


def test_the_rank_is_the_actual_one_and_conversion_to_lora_is_exact():
    model = network()
    adaptation = perturbed(adapt(model, small(rank=5)))
    assert all(int(torch.linalg.matrix_rank(one.delta())) == 5 for one in adaptation.adapters.values())
    model.eval()
    output = model(inputs())
    adaptation.merge()
    assert_close(model(inputs()), output)
    adaptation.unmerge()
    plain = adapt(network(), LoRA(rank=5, alpha=16))
    for mine, theirs in zip(adaptation.adapters.values(), plain.adapters.values(), strict=True):
        left, right = mine.factors()
        theirs.assign(left.detach(), right.detach(), None)
    assert_close(plain.model(inputs()), output)


def indices(adaptation):
    return {name: (one.index_left, one.index_right) for name, one in adaptation.adapters.items()}


def same(one, other):
    return all(torch.equal(a, b) for name in one for a, b in zip(one[name], other[name], strict=True))


def test_the_index_seed_and_the_names_decide_the_indices_alone():
    torch.manual_seed(5)
    first = indices(adapt(network(), small(), seed=0))
    torch.manual_seed(6)
    assert same(first, indices(adapt(network(), small(), seed=1)))
    assert not same(first, indices(adapt(network(), small(index_seed=1))))


def test_a_saved_run_goes_on_with_the_same_bits(tmp_path):
    def step(adaptation, optimizer, seed):
        adaptation.model(inputs(seed)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    def train(adaptation, optimizer, seeds):
        for seed in seeds:
            step(adaptation, optimizer, seed)

    whole = adapt(network(), small(), ["up_proj", "down_proj"])
    optimizer = torch.optim.AdamW(whole.parameters(), lr=0.01)
    train(whole, optimizer, range(3))
    whole.save(tmp_path)
    state = copy.deepcopy(optimizer.state_dict())
    train(whole, optimizer, range(3, 6))
    again = load(network(), tmp_path)
    optimizer = torch.optim.AdamW(again.parameters(), lr=0.01)
    optimizer.load_state_dict(state)
    train(again, optimizer, range(3, 6))
    assert same(indices(whole), indices(again))
    for (name, one), (other_name, other) in zip(whole.named_parameters(), again.named_parameters(), strict=True):
        assert name == other_name
        assert torch.equal(one, other)


def test_a_copy_has_pools_of_its_own():
    model = perturbed(adapt(network(), small())).model
    twin = copy.deepcopy(model)
    output = model(inputs())
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            if "shared-" in name:
                parameter.zero_()
    assert torch.equal(model(inputs()), output)
    assert torch.equal(twin(inputs()), network()(inputs()))


def test_the_ingredients_switch_off_one_by_one():
    pairs = adapt(network(), small(pair_dissociation=False)).adapters.values()
    assert all(torch.equal(one.index_left, one.index_right) for one in pairs)
    assert not any(torch.equal(one.index_left, one.index_right) for one in adapt(network(), small()).adapters.values())
    shared = MoS(rank=None, equivalent_rank=2, private_rank=0, shards=1, pair_dissociation=False)
    for one in adapt(network(), shared).adapters.values():
        assert one.rank == 8
        assert one.index_left.tolist() == one.index_right.tolist() == list(range(8))
    public = adapt(network(), small(private_rank=0)).adapters.values()
    assert all(int(one.index_left.max()) < one.public for one in public)


def test_every_expert_of_a_stack_is_a_layer():
    stack = Experts(3, 4, 6).double()
    with torch.no_grad():
        stack.up_proj.copy_(torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0)))
    adaptation = perturbed(adapt(stack, small(rank=3, shards=2), ["up_proj"]))
    (adapter,) = adaptation.adapters.values()
    assert adapter.index_left.shape == (3, 6)
    assert adaptation.shared.left[adapter.group].shape == (2 * 3 * 2, 2)
    left, right = adapter.factors()
    assert left.shape == (3, 4, 3)
    for expert in range(3):
        rows = adaptation.shared.right[adapter.group][adapter.index_right[expert]]
        assert torch.equal(right[expert], rows.reshape(3, 6))
    own = adapter.index_right[:, -2:]
    assert own.flatten().tolist() == list(range(6, 12))


def test_shards_that_no_layer_selects_are_reported():
    adaptation = adapt(network(), small(rank=2, shards=4))
    shares = never_selected(adaptation.adapters.values())
    assert set(shares) == {name.removeprefix("shared.") for name, _ in adaptation.named_parameters()}
    for name, share in shares.items():
        side, group = name.split(".")
        users = [getattr(one, f"index_{side}") for one in adaptation.adapters.values() if one.group == group]
        seen = {int(i) for index in users for i in index if int(i) < 16}
        assert share == 1 - len(seen) / 16
    assert any(share > 0 for share in shares.values())
    everything = adapt(network(), MoS(rank=None, private_rank=0)).adapters.values()
    assert set(never_selected(everything).values()) == {0.0}
    nothing = adapt(network(), MoS(rank=2, private_rank=2)).adapters.values()
    assert set(never_selected(nothing).values()) == {0.0}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": 1}, "rank must be at least 2"),
        ({"private_rank": 3}, "private_rank 3 is above equivalent_rank 2"),
        ({"shards": 0}, "shards must be at least 1"),
        ({"shards": 3}, r"shards 3 does not divide both sides of '0.up_proj' \(12 x 8\); the nearest that does is 2"),
        ({"rank": 6}, r"'up_proj-12x8' of 4 layers has .* = 4; choose a rank of at most 5"),
        ({"rank": 3, "private_rank": 2}, "choose a rank of at most 2"),
        ({"rank": 9, "equivalent_rank": 4}, r"rank 9 is above min\(out, in\) = 8"),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    model = network()
    with pytest.raises(MethodError, match=message):
        adapt(model, small(**fields))
    assert type(model[0].up_proj) is nn.Linear


def test_a_target_may_have_a_rank_of_its_own():
    adaptation = adapt(network(), small(), ranks={"0.up_proj": 2})
    assert {name: one.rank for name, one in adaptation.adapters.items()}["0.up_proj"] == 2
    assert adaptation.adapters["1.up_proj"].rank == 4

# SPDX-License-Identifier: Apache-2.0
"""DiffoRA against plain LoRA on what it keeps, and the identities of its gates, its sharing and its kernel."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from gated_network import PLACES, SLOW, batch, network, optimizer_of, train
from random_layers import draw, filled, moved
from rankwise import LoRA, MethodError, StateError, TargetError, adapt, load
from rankwise.adapters.diffora import DiffoRA
from rankwise.adapters.search import gate_step, selected
from rankwise.testing import assert_close, trial


def searched(**fields):
    """A network after a search of 8 steps, its adaptation and optimizer."""
    adaptation = adapt(network(), DiffoRA(**{"rank": 2, "search_warmup": 2, "search_steps": 8} | fields), list(PLACES))
    optimizer = optimizer_of(adaptation)
    train(adaptation, optimizer, range(8))
    return adaptation, optimizer


def rounded(adaptation, kept):
    """The gates set to 0 and 1 by hand."""
    state = adaptation.shared
    state.selected.copy_(torch.tensor([name in kept for name in state.names]))
    state.rounded.fill_(True)


def test_it_starts_at_the_base_whatever_the_gates():
    model, (x, _) = network(), batch(0)
    base = model(x).detach()
    adaptation = adapt(model, DiffoRA(rank=2), list(PLACES))
    with torch.no_grad():
        adaptation.shared.theta.copy_(draw(6))
        assert torch.equal(model.eval()(x), base)
        rounded(adaptation, selected(adaptation))
        assert torch.equal(model(x), base)


@pytest.mark.parametrize("mode", ["sigmoid", "softmax"])
def test_the_gradient_of_a_gate_is_that_of_its_delta_along_the_product(mode):
    adaptation = moved(adapt(network(), DiffoRA(rank=2, mode=mode), list(PLACES)))
    model, state, (x, y) = adaptation.model.eval(), adaptation.shared, batch(0)
    theta = state.theta.detach().clone()
    gates = theta.sigmoid() if mode == "sigmoid" else 3 * theta.view(2, 3).softmax(1).flatten()
    assert_close(torch.stack([state.gate(i) for i in range(6)]), gates)
    base = network().requires_grad_(False)
    dense = {f"{n}.weight": base.get_parameter(f"{n}.weight") + a.delta() for n, a in adaptation.adapters.items()}
    dense = {name: weight.detach().requires_grad_() for name, weight in dense.items()}
    by_weight = torch.autograd.grad(F.mse_loss(functional_call(base, dense, (x,)), y), list(dense.values()))
    products = [8 * one.left.detach() @ one.right.detach() for one in adaptation.adapters.values()]
    by_gate = torch.stack([(g * p).sum() for g, p in zip(by_weight, products, strict=True)])
    if mode == "sigmoid":
        expected = by_gate * gates * (1 - gates)
    else:
        shares, by_layer = (gates / 3).view(2, 3), by_gate.view(2, 3)
        expected = (3 * shares * (by_layer - (shares * by_layer).sum(1, keepdim=True))).flatten()
    (found,) = torch.autograd.grad(F.mse_loss(model(x), y), state.theta)
    assert_close(found, expected)
    torch.autograd.gradcheck(lambda _: F.mse_loss(model(x), y), state.theta)


@pytest.mark.parametrize("rho", [1.0, 0.34])
def test_what_was_kept_trains_as_a_lora_to_the_bit(rho):
    adaptation, optimizer = searched(rho=rho, share="none")
    names = selected(adaptation)
    assert len(names) == (6 if rho == 1 else 2)
    others = {name: one for name, one in adaptation.adapters.items() if name not in names}
    before = copy.deepcopy({name: one.state_dict() for name, one in others.items()})
    plain = adapt(network(), LoRA(rank=2), names)
    beside = torch.optim.AdamW(plain.parameters(), lr=SLOW, weight_decay=0.1)
    assert len(list(plain.parameters())) == len(names) * 2  # a weight that was dropped is not even saved
    plain.attach(beside)
    x, _ = batch(0)
    for step in range(8, 14):
        assert torch.equal(adaptation.model(x), plain.model(x))
        train(adaptation, optimizer, [step])
        train(plain, beside, [step])
    for name in names:
        assert torch.equal(adaptation.adapters[name].left, plain.adapters[name].left)
        assert torch.equal(adaptation.adapters[name].right, plain.adapters[name].right)
        assert plain.adapters[name].left.abs().max() > 0.01
    for name, one in others.items():
        assert trial.identical(one.state_dict(), before[name])


def test_a_dropped_weight_is_the_base_and_has_no_gradient():
    adaptation = moved(adapt(network(), DiffoRA(rank=2, share="none"), list(PLACES)))
    rounded(adaptation, ["layers.0.key"])
    h = draw(3, 6)
    for name in ("query", "key"):
        layer, base = getattr(adaptation.model.layers[0], name), getattr(network().layers[0], name)
        assert torch.equal(layer.eval()(h), base(h)) == (name == "query")
        layer(h).square().sum().backward()
    for name, one in adaptation.adapters.items():
        if name.startswith("layers.0") and one.left.grad is not None:
            assert bool((one.left.grad != 0).any()) == bool((one.right.grad != 0).any()) == (name == "layers.0.key")
    assert bool((adaptation.shared.theta.grad == 0).all())


def test_warm_start_keeps_the_function_of_what_was_kept():
    adaptation = adapt(network(), DiffoRA(rank=2, search_warmup=2, search_steps=8, warm_start=True), list(PLACES))
    optimizer = optimizer_of(adaptation)
    train(adaptation, optimizer, range(7))
    optimizer.param_groups[0]["lr"] = 0.0
    before = {name: one.delta().detach() for name, one in adaptation.adapters.items()}
    train(adaptation, optimizer, [7])
    for name in selected(adaptation):
        assert_close(adaptation.adapters[name].delta(), before[name])
        assert before[name].abs().max() > 1e-3
    assert not any(one.delta().any() for name, one in adaptation.adapters.items() if name not in selected(adaptation))


def test_fresh_factors_are_the_first_ones_again():
    torch.manual_seed(0)
    adaptation, optimizer = searched()
    torch.manual_seed(1)
    again, _ = searched()
    assert trial.identical(trial.state(adaptation), trial.state(again))
    start = adapt(network(), DiffoRA(rank=2), list(PLACES)).adapters
    for name, one in adaptation.adapters.items():
        assert trial.identical(one.state_dict(), start[name].state_dict())
        assert not optimizer.state[one.left]


@pytest.mark.parametrize(
    ("share", "groups"),
    [
        ("type", ["qkvqkv", 3]),
        ("layer", ["aabccd", 4]),  # query and key have one size, value another
    ],
)
def test_weights_of_a_type_or_a_layer_share_one_pair(share, groups):
    adaptation = adapt(network(), DiffoRA(rank=2, share=share), list(PLACES))
    pairs, letters = adaptation.shared.pairs, groups[0]
    assert len(pairs) == groups[1]
    for one, other in itertools.combinations(range(6), 2):
        first, second = pairs.factors(one), pairs.factors(other)
        assert (first[0] is second[0]) == (first[1] is second[1]) == (letters[one] == letters[other])
    found = [id(p) for p in adaptation.parameters()]
    assert len(found) == len(set(found)) == 2 * 6 + 2 * len(pairs) + 1


def test_a_shared_pair_has_the_sum_of_its_users_gradients_and_merges_exactly():
    adaptation = moved(adapt(network(), DiffoRA(rank=2), list(PLACES)))
    rounded(adaptation, ["layers.0.key"])
    model, state, (x, y) = adaptation.model.eval(), adaptation.shared, batch(0)
    own = adaptation.adapters["layers.0.key"]
    assert_close(own.delta(), 8 * own.left @ own.right)
    base, leaves = network().requires_grad_(False), {}
    for index, (name, one) in enumerate(adaptation.adapters.items()):
        factors = (own.left, own.right) if one is own else state.pairs.factors(index)
        leaves[name] = tuple(factor.detach().clone().requires_grad_() for factor in factors)
        assert_close(one.delta(), 8 * leaves[name][0] @ leaves[name][1])
    dense = {f"{n}.weight": base.get_parameter(f"{n}.weight") + 8 * b @ a for n, (b, a) in leaves.items()}
    F.mse_loss(functional_call(base, dense, (x,)), y).backward()
    F.mse_loss(model(x), y).backward()
    for index, name in enumerate(PLACES):
        users = [f"layers.{layer}.{name}" for layer in (0, 1) if (layer, name) != (0, "key")]
        for side in (0, 1):
            assert_close(state.pairs.factors(index)[side].grad, sum(leaves[user][side].grad for user in users))
    assert_close(own.left.grad, leaves["layers.0.key"][0].grad)
    assert not any(one.left.grad.any() for one in adaptation.adapters.values() if one is not own)
    output = model(x)
    adaptation.merge()
    assert_close(model(x), output)


@pytest.mark.parametrize(("share", "pairs"), [("none", 0), ("type", 3), ("layer", 4)])
def test_parameter_counts(share, pairs):
    adaptation, _ = searched(share=share)
    state, names, size = adaptation.shared, selected(adaptation), 2 * (6 + 4)
    assert len(names) == 4  # 1.5 of 3 in each layer
    assert sum(p.numel() for p in adaptation.parameters()) == 6 * size + 6 + pairs * size
    used = {state.pairs.of[i] for i, name in enumerate(state.names) if name not in names} if pairs else set()
    moving = sum(p.numel() for p in state.moving(adaptation.adapters.values()))
    assert moving == (len(names) + len(used)) * size


@pytest.mark.parametrize("cut", [5, 8, 10])
@pytest.mark.parametrize("share", ["none", "type"])
def test_a_run_goes_on_with_the_same_bits_before_at_and_after_rounding(cut, share, tmp_path):
    method = DiffoRA(rank=2, search_warmup=2, search_steps=8, mode="softmax", share=share)
    whole = adapt(network(), method, list(PLACES))
    train(whole, optimizer_of(whole), range(13))
    first = adapt(network(), method, list(PLACES))
    optimizer = optimizer_of(first)
    train(first, optimizer, range(cut))
    first.save(tmp_path)
    second = load(network(), tmp_path)
    assert torch.equal(second.shared.theta, first.shared.theta)
    assert gate_step(second) == gate_step(first)
    assert selected(second) == selected(first)
    again = optimizer_of(second)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(second, again, range(cut, 13))
    assert trial.identical(trial.state(second), trial.state(whole))


def test_the_tangent_kernel_is_the_sum_of_the_modules_kernels_by_squared_gates():
    model = filled(nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 1))).eval()
    first, _, second, _, third = model
    adaptation = adapt(model, DiffoRA(rank=1, share="none"), ["0", "2", "4"])
    x, factors = draw(8, 5), [one.right.detach() for one in adaptation.adapters.values()]
    h = first(x).tanh().detach()
    z = second(h).tanh().detach()
    by_third = torch.ones(8, 1).double()
    by_second = by_third @ third.weight * (1 - z**2)
    by_first = by_second @ second.weight * (1 - h**2)
    own = [
        16**2 * (d @ d.T) * ((v @ a.T) @ (v @ a.T).T)
        for d, v, a in zip((by_first, by_second, by_third), (x, h, z), factors, strict=True)
    ]
    tensors = [p for one in adaptation.adapters.values() for p in (one.left, one.right)]

    def kernel():
        rows = [
            torch.cat([g.flatten() for g in torch.autograd.grad(y, tensors, retain_graph=True)])
            for y in model(x).flatten()
        ]
        return torch.stack(rows) @ torch.stack(rows).T

    state, gates = adaptation.shared, torch.tensor([0.2, 0.7, 0.9]).double()
    with torch.no_grad():
        state.theta.copy_(torch.logit(gates))
    assert_close(kernel(), sum(g**2 * one for g, one in zip(gates, own, strict=True)))
    least = {}
    for count in range(4):
        for kept in itertools.combinations(state.names, count):
            rounded(adaptation, kept)
            found = kernel()
            assert_close(
                found, sum((one for name, one in zip(state.names, own, strict=True) if name in kept), 0 * found)
            )
            least[frozenset(kept)] = float(torch.linalg.eigvalsh(found)[0])
    for kept, name in itertools.product(least, state.names):
        assert least[kept | {name}] >= least[kept] - 1e-9
    assert least[frozenset(state.names)] > least[frozenset(state.names[1:])] + 1e-3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rho": 0.0}, r"rho must be in \(0, 1\], got 0"),
        ({"rho": 1.1}, r"rho must be in \(0, 1\]"),
        ({"search_warmup": -1}, "search_warmup must be at least 0"),
        ({"search_warmup": 9, "search_steps": 9}, "search_steps 9 must be above search_warmup 9"),
        ({"rank": 0}, "rank must be at least 1"),
        ({"alpha": 0.0}, "alpha must be above 0"),
        ({"mode": "tanh"}, "mode must be"),
    ],
)
def test_fields_out_of_range_are_refused(fields, message):
    with pytest.raises(MethodError, match=message):
        DiffoRA.from_fields(fields)


def test_gates_that_select_nothing_are_refused():
    with pytest.raises(MethodError, match=r"rho=0.08 of 6 gates is 0.48, .* gates that select nothing.* at least 0.08"):
        adapt(network(), DiffoRA(rank=2, rho=0.08, scope="global"), list(PLACES))
    adaptation, _ = searched(rho=0.08)
    assert len(selected(adaptation)) == 2  # one of each layer
    with pytest.raises(MethodError, match=r"rho must be in \(0, 1\], got -1"):
        selected(adaptation, -1.0)


@pytest.mark.parametrize("fields", [{}, {"scope": "global", "mode": "softmax"}, {"scope": "global", "share": "layer"}])
def test_a_weight_without_a_layer_is_refused_where_layers_count(fields):
    with pytest.raises(TargetError, match="the layer of 'head' cannot be told"):
        adapt(network(), DiffoRA(rank=2, **fields), ["query", "head"])
    adapt(network(), DiffoRA(rank=2, scope="global"), ["query", "head"])


def test_a_rank_for_some_weights_is_refused_where_all_may_share():
    with pytest.raises(MethodError, match='share="type" needs one rank for all weights, got 1 for'):
        adapt(network(), DiffoRA(rank=2), list(PLACES), ranks={"query": 1})
    adaptation = adapt(network(), DiffoRA(rank=2, share="none"), list(PLACES), ranks={"query": 1})
    assert adaptation.adapters["layers.1.query"].left.shape == (4, 1)


def test_gates_that_never_moved_are_refused():
    adaptation = adapt(network(), DiffoRA(rank=2, search_warmup=1, search_steps=4), list(PLACES))
    optimizer = optimizer_of(adaptation)
    optimizer.param_groups[1]["lr"] = 0.0
    with pytest.raises(StateError, match="no gate has moved"):
        train(adaptation, optimizer, range(4))

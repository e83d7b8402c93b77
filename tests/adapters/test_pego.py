# SPDX-License-Identifier: Apache-2.0
"""PEGO: the group as one product, both terms of the penalty in every norm, when they act, and fused query-key-value."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from random_layers import draw, filled, moved, on
from rankwise import LoRA, MethodError, StateError, TargetError, adapt
from rankwise.adapters.pego import PEGO, PEGOAdapter, orthogonality
from rankwise.testing import assert_close

NORMS = ["row_l1", "col_l1", "row_fro2", "col_fro2"]


def members(adapter: PEGOAdapter) -> list[tuple[Tensor, Tensor]]:
    """W0 and the D_i of every group, each of its own matrix."""
    base, method = adapter.target.matrix(), adapter.method
    found = []
    for stack in itertools.product(*map(range, adapter.target.batch)):
        left, right = adapter.left[stack], adapter.right[stack]
        for part, rows in enumerate(left.chunk(adapter.parts)):
            first = 0 if part == 0 else base.shape[-2] - len(rows)
            pairs = zip(rows.split(method.rank, 1), right.chunk(adapter.parts)[part].split(method.rank), strict=True)
            deltas = torch.stack([adapter.scaling * b @ a for b, a in pairs])
            found.append((base[stack][first : first + len(rows)], deltas))
    return found


def naive(adapter: PEGOAdapter) -> tuple[Tensor, Tensor]:
    """Both terms from the dense matrices, member by member and pair by pair."""
    kind = adapter.method.kind
    size = {"l1": torch.abs, "fro2": torch.square}[kind[4:]]
    preserve = diversify = torch.zeros((), dtype=torch.float64)
    for base, deltas in members(adapter):
        turned = (lambda m: m) if kind.startswith("row") else (lambda m: m.mT)
        reduced = torch.mean if adapter.method.normalize else torch.sum
        for delta in deltas:
            preserve = preserve + reduced(size(turned(base) @ turned(delta).mT))
        for first, second in itertools.combinations(deltas, 2):
            diversify = diversify + reduced(size(turned(first) @ turned(second).mT))
    return preserve, diversify


@pytest.mark.parametrize(
    ("kind", "preserve", "diversify"), [("row_l1", 14, 7), ("row_fro2", 78, 49), ("col_l1", 11, 0)]
)
def test_worked_example(kind, preserve, diversify):
    layer = nn.Linear(2, 2, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.diag(torch.tensor([1.0, 2.0])))
    adaptation = adapt(layer, PEGO(rank=1, members=2, kind=kind), ["weight"])
    adapter = adaptation.adapters["weight"]
    with torch.no_grad():
        adapter.right.copy_(torch.tensor([[3.0, 4.0], [1.0, 1.0]]))
        adapter.left.copy_(torch.eye(2))
    terms = orthogonality([adapter])
    assert (terms.preserve.item(), terms.diversify.item()) == pytest.approx((preserve, diversify))
    assert adaptation.penalty().item() == pytest.approx(1e-3 * (preserve + diversify))


LAYERS = {
    "linear": lambda: nn.Linear(7, 5),
    "conv": lambda: nn.Conv2d(4, 6, (3, 2), groups=2),
    "embedding": lambda: nn.Embedding(9, 4),
    "experts": lambda: nn.Bilinear(4, 5, 3),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("kind", NORMS)
@pytest.mark.parametrize("normalize", [False, True])
def test_the_terms_and_their_gradients_equal_the_dense_formula(layer, kind, normalize):
    method = PEGO(rank=2, members=3, alpha=3.0, kind=kind, normalize=normalize)
    _, adaptation, adapter = on(LAYERS[layer](), method)
    terms = orthogonality(adaptation.adapters.values())
    parameters = list(adaptation.parameters())
    for mine, other in zip((terms.preserve, terms.diversify), naive(adapter), strict=True):
        assert mine > 0.01
        assert_close(mine, other)
        actual = torch.autograd.grad(mine, parameters, retain_graph=True, allow_unused=True)
        for one, expected in zip(actual, torch.autograd.grad(other, parameters, retain_graph=True), strict=True):
            assert_close(one, expected)


@pytest.mark.parametrize("kind", NORMS)
def test_the_terms_of_fused_query_and_value(kind):
    _, adaptation, adapter = on(nn.Linear(4, 12), PEGO(rank=2, members=3, kind=kind, fused_qkv=True))
    assert len(members(adapter)) == 2
    terms = orthogonality(adaptation.adapters.values())
    for mine, other in zip((terms.preserve, terms.diversify), naive(adapter), strict=True):
        assert_close(mine, other)


def test_fused_key_rows_stay_and_query_and_value_get_their_groups():
    layer, _, adapter = on(nn.Linear(4, 12), PEGO(rank=2, members=3, fused_qkv=True))
    delta = adapter.delta()
    (_, query), (_, value) = members(adapter)
    assert_close(delta, torch.cat([query.sum(0), torch.zeros(4, 4), value.sum(0)]))
    x = draw(5, 4)
    assert_close(layer(x), F.linear(x, layer.weight + delta, layer.bias))
    assert torch.equal(layer(x)[:, 4:8], F.linear(x, layer.weight, layer.bias)[:, 4:8])


def test_the_sum_over_layers():
    model = nn.Sequential(filled(nn.Linear(4, 6)), filled(nn.Linear(6, 5)))
    adaptation = moved(adapt(model, PEGO(rank=2, members=2, preserve=0.5, diversify=2.0), ["0", "1"]))
    both = torch.stack([torch.stack(naive(one)) for one in adaptation.adapters.values()]).sum(0)
    assert_close(adaptation.penalty(), 0.5 * both[0] + 2 * both[1])


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.sampled_from(NORMS), st.permutations(range(4)))
def test_what_leaves_the_terms_as_they_are(count, rank, kind, order):
    """Another basis inside each member, and another order of the members."""
    _, _, adapter = on(nn.Linear(6, 5), PEGO(rank=rank, members=count, kind=kind))
    before, delta = adapter.terms(), adapter.delta()
    order = [i for i in order if i < count]
    mixes = draw(count, rank, rank, seed=9) + 2 * torch.eye(rank, dtype=torch.float64)
    with torch.no_grad():
        left = adapter.left.unflatten(-1, (count, rank)).movedim(1, 0) @ mixes.inverse()
        right = mixes @ adapter.right.unflatten(0, (count, rank))
        adapter.left.copy_(left[order].movedim(0, 1).flatten(1))
        adapter.right.copy_(right[order].flatten(0, 1))
    torch.testing.assert_close(adapter.terms(), before, rtol=1e-8, atol=1e-10)  # the inverse is not exact
    torch.testing.assert_close(adapter.delta(), delta, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kind", NORMS)
def test_the_start_is_the_base_with_no_penalty_and_no_gradient_of_it(kind):
    layer, x = filled(nn.Linear(7, 5)), draw(3, 7)
    base = layer(x).detach()
    adaptation = adapt(layer, PEGO(rank=2, kind=kind), ["weight"])
    adapter = adaptation.adapters["weight"]
    assert torch.equal(layer(x), base)
    penalty = adaptation.penalty()
    assert penalty == 0
    for gradient in torch.autograd.grad(penalty, list(adaptation.parameters())):
        assert not gradient.any()
    starts = adapter.right.unflatten(0, (4, 2))
    assert all((starts[i] != starts[j]).all() for i, j in itertools.combinations(range(4), 2))
    assert starts.abs().max() <= 7**-0.5


def test_one_product_is_the_loop_over_members():
    layer, adaptation, adapter = on(nn.Linear(7, 5), PEGO(rank=2, members=3))
    x = draw(4, 7)
    with adaptation.disabled():
        expected = layer(x)
    for _, deltas in members(adapter):
        for delta in deltas:
            expected = expected + x @ delta.mT
    assert_close(layer(x), expected)
    assert adaptation.convert(LoRA(rank=5)).relative_error["weight"] < 1e-10  # the group is one LoRA of rank N r


@pytest.mark.parametrize("members", [1, 2])
def test_without_penalty_it_trains_as_lora_of_the_whole_rank(members):
    x, results = draw(8, 7), []
    for method in (
        PEGO(rank=2, members=members, preserve=0.0, diversify=0.0),
        LoRA(rank=2 * members, alpha=2.0 * members),
    ):
        layer = filled(nn.Linear(7, 5))
        adaptation = adapt(layer, method, ["weight"])
        optimizer = torch.optim.Adam(adaptation.parameters(), lr=0.01)
        adaptation.attach(optimizer)
        for _ in range(5):
            optimizer.zero_grad()
            layer(x).square().sum().backward()
            optimizer.step()
        results.append(adaptation.adapters["weight"].delta())
    assert results[0].abs().max() > 1e-3
    assert torch.equal(*results)


def test_terms_of_another_method_are_refused():
    adaptation = adapt(nn.Linear(7, 5), LoRA(rank=2), ["weight"])
    with pytest.raises(MethodError, match="none of the adapters is PEGO's"):
        orthogonality(adaptation.adapters.values())


def test_one_member_has_nothing_to_diversify():
    _, adaptation, adapter = on(nn.Linear(7, 5), PEGO(rank=2, members=1))
    terms = orthogonality([adapter])
    assert terms.diversify == 0
    assert_close(adaptation.penalty(), 1e-3 * naive(adapter)[0])


def test_updates_on_the_null_space_are_free_and_keep_the_outputs_of_the_row_space():
    layer, rows = nn.Linear(7, 5, bias=False).double(), draw(3, 7)
    with torch.no_grad():
        layer.weight.copy_(draw(5, 3, seed=1) @ rows)
    adapter = moved(adapt(layer, PEGO(rank=2, members=2), ["weight"])).adapters["weight"]
    x = draw(4, 3, seed=2) @ rows
    null = torch.linalg.svd(rows).Vh[3:]
    with torch.no_grad():
        adapter.right.copy_(draw(4, 4, seed=3) @ null)
    assert orthogonality([adapter]).preserve < 1e-10
    assert adapter.delta().abs().max() > 0.1
    torch.testing.assert_close(layer(x), x @ layer.weight.mT, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("every", [1, 2])
def test_every_kth_step_carries_the_gradient_of_k(every):
    layer = filled(nn.Linear(7, 5))
    method = PEGO(rank=2, members=2, preserve=0.1, diversify=0.3, every=every)
    adaptation = moved(adapt(layer, method, ["weight"]))
    optimizer = torch.optim.SGD(adaptation.parameters(), lr=0.0)
    adaptation.attach(optimizer)
    preserve, diversify = naive(adaptation.adapters["weight"])
    expected = torch.autograd.grad(0.1 * preserve + 0.3 * diversify, list(adaptation.parameters()))
    for step in range(2 * every):
        optimizer.zero_grad()
        layer(draw(4, 7)).sum().backward()
        task = [parameter.grad.clone() for parameter in adaptation.parameters()]
        optimizer.step()
        share = every if step % every == 0 else 0
        for parameter, own, penalty in zip(adaptation.parameters(), task, expected, strict=True):
            assert_close(parameter.grad - own, share * penalty)


@pytest.mark.parametrize(
    ("build", "method", "count"),
    [
        (lambda: nn.Linear(768, 2304), PEGO(rank=4, members=2, fused_qkv=True), 2 * 147_456 // 12),
        (lambda: nn.Linear(16, 8), PEGO(rank=3, members=5), 5 * 3 * 24),
    ],
)
def test_parameter_counts(build, method, count):
    assert adapt(build(), method, ["weight"]).summary().trainable == count


def test_the_large_products_are_not_kept_for_the_backward_pass():
    _, _, adapter = on(nn.Linear(40, 30), PEGO(rank=2, members=3))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one.numel()) or one, lambda one: one):
        adapter.terms()
    assert max(kept, default=0) <= max(adapter.left.numel(), adapter.right.numel())


def test_half_precision_and_autocast_leave_the_penalty_in_float32():
    layer = nn.Linear(64, 48).half()
    adapter = moved(adapt(layer, PEGO(rank=2), ["weight"], dtype=torch.float16)).adapters["weight"]
    with torch.no_grad():
        adapter.left.mul_(100)  # the sums are beyond the largest number of float16
    terms = adapter.terms()
    assert terms.dtype == torch.float32
    assert (terms > 65504).all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(adapter.terms(), terms)


def test_a_merged_adapter_has_no_penalty():
    _, adaptation, _ = on(nn.Linear(7, 5), PEGO(rank=2))
    adaptation.merge()
    with pytest.raises(StateError, match=r"adapter 'default' is merged, .* unmerge\(\) first"):
        adaptation.penalty()
    adaptation.unmerge()
    assert adaptation.penalty() > 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": 0}, r"PEGO\.rank must be at least 1, got 0"),
        ({"members": 0}, r"PEGO\.members must be at least 1, got 0"),
        ({"every": 0}, r"PEGO\.every must be at least 1, got 0"),
        ({"preserve": -1.0}, r"PEGO\.preserve must be at least 0, got -1"),
        ({"diversify": -1.0}, r"PEGO\.diversify must be at least 0, got -1"),
        ({"alpha": 0.0}, r"PEGO\.alpha must be above 0, got 0"),
        ({"dropout": 1.0}, r"PEGO\.dropout must be in \[0, 1\), got 1"),
    ],
)
def test_fields_out_of_range_are_refused(fields, message):
    with pytest.raises(MethodError, match=message):
        PEGO(**fields)


def test_layers_that_do_not_fit_are_refused():
    with pytest.raises(MethodError, match=r"rank 6 is above min\(out, in\) = 5"):
        adapt(nn.Linear(7, 5), PEGO(rank=6), ["weight"])
    with pytest.raises(TargetError, match="has 5 rows, which are not query, key and value of one size"):
        adapt(nn.Linear(7, 5), PEGO(rank=2, fused_qkv=True), ["weight"])


def test_a_penalty_in_some_steps_needs_somebody_to_count_them():
    adaptation = moved(adapt(filled(nn.Linear(7, 5)), PEGO(rank=2, every=2), ["weight"]))
    with pytest.raises(StateError, match=r"every=2 needs the number of the step, which adaptation\.attach"):
        adaptation.penalty()
    adaptation.attach(torch.optim.SGD(adaptation.parameters(), lr=0.1), penalty=False)
    assert adaptation.penalty() > 0


@pytest.mark.slow
def test_the_penalty_keeps_what_adaptation_does_not_show():
    """The claim of `benchmarks/group_rotations.py`, on one seed."""
    import group_rotations  # noqa: PLC0415 - a benchmark script

    rows = group_rotations.measure(seed=0)
    found = {name: dict(zip(group_rotations.HEADS, row, strict=True)) for name, row in rows.items()}
    free, some, much = (found[f"{weight:g}"] for weight in group_rotations.WEIGHTS)
    for unseen in ("0 degrees", "-35 degrees"):
        assert free[unseen] < some[unseen] < much[unseen]
    assert much["30 degrees"] > free["30 degrees"] - 0.05
    assert free["mean abs(cos)"] > some["mean abs(cos)"] > much["mean abs(cos)"]
    assert free["size"] > some["size"] > much["size"]

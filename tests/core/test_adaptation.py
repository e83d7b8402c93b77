"""The handle: several adapters, contexts, states that do not fit, and leaving no trace."""

import copy

import pytest
import torch
from reliability.models import net, perturb, tokens
from reliability.snapshot import same, snapshot
from torch import nn

from rankwise import Adaptation, LoRA, PETALface, StateError, TargetError, adapt, adaptations
from rankwise.testing import assert_close

EVERYTHING = ["embed", "fc", "conv", "attn", "rnn", "out"]


def adapted(model: nn.Module, name: str = "default", rank: int = 2, seed: int = 1):
    adaptation = adapt(model, LoRA(rank=rank), targets=EVERYTHING, name=name)
    perturb(adaptation.parameters(), seed=seed)
    return adaptation


def test_removing_the_last_adapter_restores_the_object_it_found():
    model = net()
    model.fc.weight.requires_grad_(False)
    before = snapshot(model)
    first, second = adapted(model), adapted(model, "second")
    first.remove()
    assert isinstance(model.fc, nn.Linear)
    second.remove()
    assert same(before, snapshot(model))


def test_base_keys_do_not_move_while_adapted():
    model = net()
    keys = list(model.state_dict())
    adapted(model)
    assert [key for key in model.state_dict() if "rankwise" not in key] == keys


def test_two_adapters_add_up_with_their_scales():
    first_only, second_only, both = net(), net(), net()
    a, b = adapted(first_only, "a", seed=1), adapted(second_only, "b", seed=2)
    a_too, b_too = adapted(both, "a", seed=1), adapted(both, "b", seed=2)
    b_too.scale = 0.5
    x = torch.randn(4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    base = net().fc(x)
    expected = base + (first_only.fc(x) - base) + 0.5 * (second_only.fc(x) - base)
    assert_close(both.fc(x), expected)
    a_too.active = False
    b_too.scale = 1.0
    assert_close(both(tokens()), second_only(tokens()))
    assert a.name == "a"
    assert b.scale == 1.0


def test_merging_is_independent_of_the_order_and_bit_exact_to_undo():
    model = net()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    a, b = adapted(model, "a", seed=1), adapted(model, "b", seed=2)
    expected = model(tokens())
    a.merge()
    b.merge()
    assert_close(model(tokens()), expected)
    a.unmerge()
    b.unmerge()
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())
    assert torch.equal(model(tokens()), expected)


def test_a_merged_adapter_leaves_its_delta_behind_when_removed():
    model = net()
    adaptation = adapted(model)
    expected = model(tokens())
    adaptation.merge()
    adaptation.remove()
    assert_close(model(tokens()), expected)
    assert type(model.fc) is nn.Linear


def test_a_copy_of_the_model_has_adapters_of_its_own():
    model = net()
    adaptation = adapted(model)
    twin = copy.deepcopy(model)
    handle = adaptations(twin)["default"]
    handle.active = False
    assert adaptation.active
    assert torch.equal(twin(tokens()), net().requires_grad_(False)(tokens()))
    assert not torch.equal(model(tokens()), twin(tokens()))


def test_a_mixed_batch_equals_one_by_one_whatever_the_layer():
    model = net()
    adapted(model, "a", seed=1)
    handle = adapted(model, "b", rank=1, seed=2)
    ids = tokens(examples=4)
    names = ["b", None, "a", "b"]
    with handle.context(adapters=names):
        together = model(ids)
    for index, name in enumerate(names):
        with handle.context(adapters=[name]):
            assert_close(together[index : index + 1], model(ids[index : index + 1]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"adapters": ["defualt"]}, "no adapter 'defualt'. Did you mean default"),
        ({"quality": 0.5}, "no adapter of this model reads an input 'quality'"),
        ({}, "given nothing"),
        ({"adapters": []}, "one entry for each example"),
    ],
)
def test_a_context_that_nobody_reads_is_refused(arguments, message):
    adaptation = adapted(net())
    with pytest.raises(StateError, match=message):
        adaptation.context(**arguments)


def test_a_batch_of_another_size_than_the_context_is_refused():
    model = net()
    adaptation = adapted(model)
    with adaptation.context(adapters=["default", None]), pytest.raises(StateError, match="describes 2 examples"):
        model(tokens(examples=3))


def test_recomputing_a_routed_forward_outside_its_context_is_refused():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).double()
    adaptation = adapt(model, LoRA(rank=2), targets=".*")
    perturb(adaptation.parameters())
    x = torch.ones(2, 4, dtype=torch.float64, requires_grad=True)
    with adaptation.context(adapters=["default", None]):
        y = torch.utils.checkpoint.checkpoint(model, x, use_reentrant=False)
    with pytest.raises(StateError, match="call backward"):
        y.sum().backward()


def test_states_that_do_not_fit_are_refused():
    model = net()
    adaptation = adapted(model)
    with pytest.raises(StateError, match="already has an adapter 'default'"):
        adapted(model)
    with pytest.raises(StateError, match="not allowed"):
        adapted(model, "../up")
    with pytest.raises(StateError, match="not merged"):
        adaptation.unmerge()
    adaptation.merge()
    for call in (adaptation.merge, lambda: adaptation.convert(LoRA(rank=1)), adaptation.disabled().__enter__):
        with pytest.raises(StateError, match="merged"):
            call()
    with pytest.raises(StateError, match="merged"):
        adaptation.context(adapters=["default"])
    adaptation.remove()
    with pytest.raises(StateError, match="no adapter 'default'"):
        adaptation.merge()


def test_a_broken_delta_is_never_merged():
    model = net()
    adaptation = adapted(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        adaptation.adapters["out"].left[0, 0] = float("nan")
    with pytest.raises(StateError, match=r"'out'.*NaN"):
        adaptation.merge()
    after = model.state_dict()
    assert all(
        torch.equal(after[key], value) for key, value in before.items() if key != "out.rankwise.weight.default.left"
    )
    assert not adaptation.merged


def test_a_layer_with_a_forward_of_its_own_is_refused_before_anything_changes():
    model = net()
    model.fc.forward = lambda x: x  # what dispatch hooks do
    before = snapshot(model)
    with pytest.raises(TargetError, match="'fc' has a forward of its own"):
        adapt(model, LoRA(rank=2), targets=["conv", "fc"])
    assert same(before, snapshot(model))


def test_a_data_parallel_wrapper_is_refused():
    with pytest.raises(StateError, match="wrapped in DataParallel"):
        adapt(nn.DataParallel(net()), LoRA(rank=2))


def test_the_summary_counts_what_trains():
    model = net()
    summary = adapted(model).summary()
    assert summary.trainable == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert len(summary.rows) == summary.candidates == 8
    assert "8 of 8 weights adapted" in str(summary)


def test_the_start_depends_on_the_seed_and_the_name_alone():
    first = adapt(net(), LoRA(rank=2), targets=["fc", "out"], seed=3).adapters
    torch.manual_seed(99)
    second = adapt(net(), LoRA(rank=2), targets=["out"], seed=3).adapters
    other = adapt(net(), LoRA(rank=2), targets=["out"], seed=4).adapters
    assert torch.equal(first["out"].right, second["out"].right)
    assert not torch.equal(first["out"].right, other["out"].right)


def test_a_delta_that_depends_on_the_context_stays_merged_as_it_was():
    def gated(model: nn.Module) -> Adaptation:
        adaptation = adapt(model, PETALface(rank=2, dropout=0.0), targets=["fc"], name="gated")
        perturb(adaptation.parameters())
        return adaptation

    alone, both = net(), net()
    first, again = gated(alone), gated(both)
    for adaptation in (first, again):
        with adaptation.context(quality=0.3):
            adaptation.merge()
    second = adapt(both, LoRA(rank=2), targets=["fc"], name="plain")
    perturb(second.parameters())
    second.merge()
    second.unmerge()
    assert torch.equal(both.fc.weight, alone.fc.weight)

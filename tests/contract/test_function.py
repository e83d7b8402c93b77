# SPDX-License-Identifier: Apache-2.0
"""What an adapted model computes: its start, its gradients, its delta, and the arithmetic of several adapters."""

import pytest
import torch

from rankwise.testing import trial
from rankwise.testing.grid import registered_name
from rankwise.testing.kinds import EXAMPLES


@pytest.mark.feature("start")
def test_starts_at_the_base_function(cell):
    model, x = cell.kind.model(), cell.kind.inputs()
    expected = model(x)
    adaptation = trial.fresh(cell, model.eval())
    with trial.given(adaptation, trial.for_all(cell.method)):
        trial.near(model(x), expected)


@pytest.mark.feature("gradient")
def test_every_tensor_gets_a_gradient_within_three_steps(cell):
    adaptation = trial.fresh(cell)
    optimizer, reached = trial.attached(adaptation), set()
    for step in range(3):
        trial.train(adaptation, optimizer, [cell.kind.inputs(step)], cell.kind.batch_dim)
        reached |= {name for name, grad in trial.gradients(adaptation).items() if bool((grad != 0).any())}
    assert {name for name, _ in adaptation.named_parameters()} - reached == set()


@pytest.mark.feature("dense")
def test_forward_and_gradients_equal_the_dense_delta(cell):
    adaptation, x = trial.adapted(cell), cell.kind.inputs()
    named = dict(adaptation.named_parameters())
    with trial.given(adaptation, trial.for_all(cell.method)):
        expected = trial.dense_output(trial.dense_base(cell.kind), x, [(1.0, adaptation)])
        actual = adaptation.model(x)
        wanted = torch.autograd.grad(trial.loss(expected), list(named.values()))
        found = torch.autograd.grad(trial.loss(actual), list(named.values()))
        with torch.no_grad():
            evaluated = adaptation.model.eval()(x)
    trial.near(actual, expected)
    trial.near(evaluated, expected, actual.dtype)
    trial.all_near(dict(zip(named, found, strict=True)), dict(zip(named, wanted, strict=True)), actual.dtype)


# Methods that stop a gradient on purpose, so that it is not the derivative of what they compute.
_MAGNITUDE = "the magnitude that multiplies an entry counts as a constant in the backward pass"
STOPPED = {"dora": "||V|| counts as a constant in the backward pass", "snell": _MAGNITUDE, "snella": _MAGNITUDE}


@pytest.mark.feature("dense")
def test_gradients_equal_finite_differences(cell):
    if cell.kind.dtype != torch.float64:
        pytest.skip("finite differences need a float64 base; test_forward_and_gradients covers this kind")
    if registered_name(cell.method) in STOPPED:
        pytest.skip(STOPPED[registered_name(cell.method)])
    adaptation, x = trial.adapted(cell), cell.kind.inputs()
    with trial.given(adaptation, trial.per_example(cell.method), batch_dim=cell.kind.batch_dim):
        layer = [p for name, p in adaptation.named_parameters() if not name.startswith("early")]
        torch.autograd.gradcheck(lambda *_: adaptation.model(x), layer, nondet_tol=0, fast_mode=True)


@pytest.mark.feature("disable")
def test_disabled_is_the_base_to_the_bit(cell):
    x = cell.kind.inputs()
    expected = cell.kind.model().requires_grad_(False)(x)  # attention picks another kernel where gradients are wanted
    adaptation = trial.adapted(cell)
    with trial.given(adaptation, trial.for_all(cell.method)):
        before = adaptation.model(x)
        with pytest.raises(KeyError), adaptation.disabled():
            with adaptation.disabled():
                assert torch.equal(adaptation.model(x), expected)
            assert torch.equal(adaptation.model(x), expected)
            raise KeyError("leaves the block early")
        assert torch.equal(adaptation.model(x), before)
        assert not torch.equal(before, expected)


@pytest.mark.feature("remove")
def test_remove_restores_the_model(cell):
    model, x = cell.kind.model(), cell.kind.inputs()
    next(model.parameters()).requires_grad_(False)
    before, output = snapshot(model), model(x)
    adaptation = trial.adapted(cell, model)
    assert snapshot(model) != before
    adaptation.remove()
    assert snapshot(model) == before
    assert torch.equal(model(x), output)


def snapshot(model: torch.nn.Module) -> list:
    """The objects a model is made of: modules with their classes and attributes, parameters with their bits."""
    modules = [(name, id(m), type(m), sorted(m.__dict__), sorted(m._modules)) for name, m in model.named_modules()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()]
    tensors = [(name, id(p), p.requires_grad, p.dtype, str(p.detach())) for name, p in model.named_parameters()]
    return [modules, hooks, tensors, list(model.state_dict())]


@pytest.mark.feature("sum")
def test_two_at_once_add_up(cell):
    model, x = cell.kind.model(), cell.kind.inputs()
    first = trial.adapted(cell, model, name="first", seed=1)
    second = trial.adapted(cell, model, name="second", seed=2)
    second.scale = 0.5
    with trial.given(first, trial.for_all(cell.method)):
        trial.near(model(x), trial.dense_output(trial.dense_base(cell.kind), x, [(1.0, first), (0.5, second)]))
        first.active = False
        trial.near(model(x), trial.dense_output(trial.dense_base(cell.kind), x, [(0.5, second)]))


@pytest.mark.feature("mixed")
def test_a_mixed_batch_equals_one_by_one(cell):
    model, x, dim = cell.kind.model(), cell.kind.inputs(), cell.kind.batch_dim
    first = trial.adapted(cell, model, name="first", seed=1)
    second = trial.adapted(cell, model, name="second", seed=2)
    second.scale = 0.5
    names, values = ("first", None, "second"), trial.per_example(cell.method)
    with trial.given(first, values, names, dim):
        together = model(x)
    for example, name in enumerate(names):
        first.active, second.active = name == "first", name == "second"
        one = {key: float(value[example]) for key, value in values.items()}
        with trial.given(first, one):
            alone = model(x.narrow(dim, example, 1))
        trial.near(together.narrow(dim, example, 1), alone)
    assert len(names) == EXAMPLES

# SPDX-License-Identifier: Apache-2.0
"""Gates by themselves: rounding against sorting by hand, and which layer a name belongs to."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from random_layers import draw
from rankwise import MethodError, StateError, TargetError
from rankwise.adapters.gates import Gates, layer_of, place_of
from rankwise.testing import assert_close

NAMES = [f"layers.{layer}.{place}" for layer in range(3) for place in ("q", "k", "v", "o", "up")]
LAYERS = [layer_of(name) for name in NAMES]
THETA = st.lists(st.integers(-60, 60), min_size=15, max_size=15)  # equal ones are common, and 1 in float32 are many


def gates(theta, mode="sigmoid"):
    built = Gates(NAMES, mode, LAYERS)
    with torch.no_grad():
        built.theta.copy_(torch.tensor(theta))
    return built


def largest(theta, count):
    """The places of the largest entries, first come first."""
    return sorted(range(len(theta)), key=lambda place: (-theta[place], place))[:count]


@settings(deadline=None)
@given(THETA, st.sampled_from([0.05, 0.2, 0.3, 0.5, 0.7, 1.0]), st.integers(-50, 50), st.booleans())
def test_rounding_keeps_the_largest_and_depends_on_differences_alone(theta, rho, shift, by_layer):
    count = {0.05: (1, 1), 0.2: (1, 3), 0.3: (2, 5), 0.5: (3, 8), 0.7: (4, 11), 1.0: (5, 15)}[rho][not by_layer]
    found = gates(theta).chosen(rho, by_layer=by_layer).nonzero().flatten().tolist()
    if by_layer:
        expected = [5 * i + place for i in range(3) for place in largest(theta[5 * i : 5 * i + 5], count)]
    else:
        expected = largest(theta, count)
    assert found == sorted(expected)
    moved = gates([value + shift for value in theta]).chosen(rho, by_layer=by_layer)
    assert moved.nonzero().flatten().tolist() == found


@settings(deadline=None, max_examples=20)
@given(THETA, st.lists(st.integers(-50, 50), min_size=3, max_size=3))
def test_softmax_gates_depend_on_differences_inside_a_layer_alone(theta, shifts):
    moved = gates([value + shifts[place // 5] for place, value in enumerate(theta)], "softmax")
    built = gates(theta, "softmax")
    found, expected = (torch.stack([one.gate(index) for index in range(15)]) for one in (moved, built))
    assert_close(found, expected)
    assert torch.equal(moved.chosen(0.4, by_layer=True), gates(theta).chosen(0.4, by_layer=True))


def test_softmax_gates_are_the_softmax_of_a_layer_times_its_weights():
    built = gates((3 * draw(15)).tolist(), "softmax")
    found = torch.stack([built.gate(index) for index in range(15)]).view(3, 5)
    assert_close(found, 5 * built.theta.view(3, 5).softmax(1))
    order = found.flatten().argsort(descending=True)[:6]
    assert set(built.chosen(0.4, by_layer=False).nonzero().flatten().tolist()) == set(order.tolist())
    assert_close(gates([0.0] * 15, "softmax").gate(7), torch.ones(()))
    assert float(gates([300.0, *[-300.0] * 14], "softmax").gate(0).detach()) == 5.0


def test_rounded_gates_are_0_and_1_and_stay_so():
    built = gates(draw(15).tolist())
    kept = built.chosen(0.4, by_layer=True)
    built.round(0.4, by_layer=True)
    with torch.no_grad():
        built.theta.neg_()
    values = torch.stack([built.gate(index) for index in range(15)])
    assert torch.equal(values, kept.float())
    values.sum().backward()
    assert torch.equal(built.theta.grad, torch.zeros(15))


def test_gates_are_float32_where_their_parameter_is_narrower():
    built = gates(draw(15).tolist()).bfloat16()
    assert built.gate(0).dtype == torch.float32
    assert_close(built.gate(0), torch.sigmoid(built.theta[0].float()))


def test_rounding_without_a_reason_to_choose_is_refused():
    with pytest.raises(StateError, match="no gate has moved"):
        gates([0.0] * 15).round(0.5, by_layer=True)
    with pytest.raises(StateError, match=r"the gates of layers\.0\.k are not finite"):
        gates([0.0, torch.nan, *[1.0] * 13]).round(0.5, by_layer=True)
    with pytest.raises(MethodError, match=r"rho=0.03 of 15 gates is 0.45, which rounds to none: gates that select"):
        gates([1.0] * 15).round(0.03, by_layer=False)
    with pytest.raises(MethodError, match=r"rho must be in \(0, 1\], got 2"):
        gates([1.0] * 15).round(2.0, by_layer=True)


@pytest.mark.parametrize(
    ("name", "layer", "place"),
    [
        ("model.layers.3.self_attn.q_proj", "model.layers.3", "model.layers.*.self_attn.q_proj"),
        ("encoder.block.11.layer.0.SelfAttention.q", "encoder.block.11", "encoder.block.*.layer.0.SelfAttention.q"),
        ("0", "0", "*"),
        ("h.2", "h.2", "h.*"),
    ],
)
def test_a_layer_is_named_by_the_first_number(name, layer, place):
    assert layer_of(name) == layer
    assert place_of(name) == place


def test_a_name_without_a_number_has_no_layer_and_a_place_of_its_own():
    for name in ("pooler.dense", "layer3.conv"):
        assert place_of(name) == name
        with pytest.raises(TargetError, match=f"the layer of '{name}' cannot be told"):
            layer_of(name)

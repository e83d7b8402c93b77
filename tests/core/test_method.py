"""Methods as data: a closed schema, ranges, and nearest names."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rankwise import LoRA, Method, MethodError, adapt, methods
from rankwise.core.method import LowRank, method_class


@given(rank=st.integers(1, 512), alpha=st.floats(1e-3, 1e3), dropout=st.floats(0, 0.9), stabilized=st.booleans())
def test_a_method_survives_json(rank, alpha, dropout, stabilized):
    method = LoRA(rank=rank, alpha=alpha, dropout=dropout, stabilized=stabilized)
    assert Method.from_dict(json.loads(json.dumps(method.to_dict()))) == method


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"method": "lroa"}, "no method 'lroa'. Did you mean lora"),
        ({"method": "lora", "rnak": 2}, "no field 'rnak'. Did you mean rank"),
        ({"method": "lora", "rank": "2"}, "rank must be int, got '2'"),
        ({"method": "lora", "rank": True}, "rank must be int"),
        ({"method": "lora", "rank": 0}, "rank must be at least 1, got 0"),
        ({"method": "lora", "alpha": 0}, "alpha must be above 0"),
        ({"method": "lora", "alpha": float("nan")}, "alpha must be"),
        ({"method": "lora", "dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"method": "lora", "init": "magic"}, "init must be"),
        ({}, "no method ''"),
    ],
)
def test_bad_data_is_refused(data, message):
    with pytest.raises(MethodError, match=message):
        Method.from_dict(data)


def test_the_registry_knows_every_method_by_its_lower_case_name():
    assert all(name == kind.__name__.lower() and method_class(name) is kind for name, kind in methods().items())


def test_a_rank_above_the_layer_names_the_limit_and_leaves_the_model_alone():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 3))
    with pytest.raises(MethodError, match=r"rank 4 is above min\(out, in\) = 3 of '1'"):
        adapt(model, LoRA(rank=4))
    assert type(model[0]) is nn.Linear
    assert all(p.requires_grad for p in model.parameters())


LOW_RANK = [kind for kind in methods().values() if issubclass(kind, LowRank)]


@pytest.mark.parametrize("kind", LOW_RANK, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": 0}, r"\.rank must be at least 1, got 0"),
        ({"alpha": 0.0}, r"\.alpha must be above 0, got 0"),
        ({"dropout": 1.0}, r"\.dropout must be in \[0, 1\), got 1"),
        ({"dropout": -0.1}, r"\.dropout must be in \[0, 1\), got -0\.1"),
    ],
)
def test_the_three_fields_of_a_scaled_product_have_ranges(kind, fields, message):
    with pytest.raises(MethodError, match=kind.__name__ + message):
        kind(**fields)
    assert kind(rank=4, alpha=6.0).scaling == 1.5

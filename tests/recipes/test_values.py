# SPDX-License-Identifier: Apache-2.0
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankwise.recipes.values import described, typed


@given(st.integers())
def test_an_integer_comes_back_from_its_text(value):
    assert typed(str(value), int) == typed(value, int) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_comes_back_from_its_text(value):
    assert typed(repr(value), float) == value


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        ("1e-3", float, 1e-3),
        (3, float, 3),
        ("none", int | None, None),
        (None, int | None, None),
        ("7", int | None, 7),
        ("false", bool, False),
        ("Yes", bool, True),
        ("pissa", Literal["kaiming", "pissa"], "pissa"),
        ("2", Literal[1, 2], 2),
        ("a, b", tuple[str, ...], ("a", "b")),
        ([1, 2], tuple[int, ...], (1, 2)),
        ("a,b", str | tuple[str, ...], "a,b"),
        (["a", "b"], str | tuple[str, ...], ("a", "b")),
        ("7", str, "7"),
    ],
)
def test_values_take_the_type_of_the_field(value, hint, expected):
    found = typed(value, hint)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        ("x", int, "must be an integer, got 'x'"),
        (1.5, int, "must be an integer, got 1.5"),
        (True, int, "must be an integer, got True"),
        (True, float, "must be a number, got True"),
        ("maybe", bool, "must be true or false, got 'maybe'"),
        (3, str, "must be text, got 3"),
        ({"a": 1}, tuple[str, ...], "must be a list, each entry text, got {'a': 1}"),
        ("none", int, "must be an integer, got 'none'"),
        ("x", int | None, "must be an integer or none, got 'x'"),
        ("up", Literal["down"], "must be one of 'down', got 'up'"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(value, hint, message):
    with pytest.raises(ValueError, match="must be") as refusal:
        typed(value, hint)
    assert str(refusal.value) == message


def test_none_stands_last_in_a_description():
    assert described(None | float | int) == "an integer or a number or none"

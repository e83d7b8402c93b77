# SPDX-License-Identifier: Apache-2.0
"""Plain values, from a YAML file or a command line, as the type that a dataclass field asks for.

Text becomes a number, a truth value or a list where the field's type says so and only there; everything else is
refused. YAML reads `1e-3` as text, hence numbers are accepted as text everywhere.
"""

from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

_TRUTH = {"true": True, "yes": True, "false": False, "no": False}
_STRICTEST_FIRST = (NoneType, bool, int, float, Literal, str, tuple, list)  # text stays text beside a list


def typed(value: Any, hint: Any) -> Any:
    """The value as the type `hint`.

    Raises:
        ValueError: if it cannot be read as that type; the message says what is allowed.
    """
    for option in alternatives(hint):
        try:
            return _read(value, option)
        except ValueError:
            continue
    raise ValueError(f"must be {described(hint)}, got {value!r}")


def alternatives(hint: Any) -> list[Any]:
    """The members of a union, the strictest first; a type that is no union alone."""
    members = list(get_args(hint)) if get_origin(hint) in (Union, UnionType) else [hint]
    ranks = {kind: rank for rank, kind in enumerate(_STRICTEST_FIRST)}
    return sorted(members, key=lambda member: ranks[get_origin(member) or member])


def described(hint: Any) -> str:
    """What a field of this type takes, in words."""
    none_last = sorted(alternatives(hint), key=lambda member: member is NoneType)
    return " or ".join(_words(member) for member in none_last)


def _words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in get_args(hint))
    if get_origin(hint) in (tuple, list):
        return f"a list, each entry {described(get_args(hint)[0])}"
    return {int: "an integer", float: "a number", bool: "true or false", str: "text", NoneType: "none"}[hint]


def _read(value: Any, hint: Any) -> Any:
    if get_origin(hint) is Literal:
        return _choice(value, get_args(hint))
    if get_origin(hint) in (tuple, list):
        return _several(value, get_args(hint)[0])
    if hint is NoneType:
        return _only(None, value is None or value in ("none", "null"))
    if hint is bool:
        word = str(value).lower()
        return _only(_TRUTH.get(word), word in _TRUTH)
    if isinstance(value, str):
        return hint(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return _only(value, number and (hint is float or (hint is int and isinstance(value, int))))


def _choice(value: Any, choices: tuple) -> Any:
    for choice in choices:
        if str(choice) == str(value):
            return choice
    raise ValueError


def _several(value: Any, hint: Any) -> tuple:
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    _only(None, isinstance(parts, list | tuple))
    return tuple(typed(part, hint) for part in parts)


def _only(value: Any, condition: bool) -> Any:
    if not condition:
        raise ValueError
    return value

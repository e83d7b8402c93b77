# SPDX-License-Identifier: Apache-2.0
"""The three forms a training example has, after the conventions of trl, and how a record becomes one of them.

    {"text": "..."}                                    loss on every token
    {"prompt": "...", "completion": "..."}             loss on the completion; both may be lists of messages
    {"messages": [{"role": ..., "content": ...}, ..]}  loss on what the assistant says

A record with several of them is read as messages, then as prompt and completion, then as text; other columns are not
read. Preference pairs, tools and images are not supported.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rankwise.errors import listed
from rankwise.recipes.errors import DataError


@dataclass(frozen=True)
class Text:
    """A document.

    Attributes:
        text: all of it.
        where: its place in the data, for messages.
    """

    text: str
    where: str


@dataclass(frozen=True)
class Pair:
    """A prompt and what is to follow it, both as plain text."""

    prompt: str
    completion: str
    where: str


@dataclass(frozen=True)
class Dialog:
    """A conversation.

    Attributes:
        messages: (role, content) of each turn.
        first: the assistant's turns from this index on are learned.
        where: its place in the data, for messages.
    """

    messages: tuple[tuple[str, str], ...]
    first: int
    where: str


Example = Text | Pair | Dialog


def example_from(record: Mapping[str, Any], where: str) -> Example:
    """The example that a record describes.

    Raises:
        DataError: if columns are missing, have the wrong type or are empty; the message begins with `where`.
    """
    if "messages" in record:
        return Dialog(_messages(record["messages"], "messages", where), 0, where)
    if "prompt" in record and "completion" in record:
        return _completion(record["prompt"], record["completion"], where)
    if "text" in record:
        return Text(_text(record["text"], "text", where), where)
    missing = next((f"'{b}' is missing beside '{a}'. " for a, b in _PAIRS if a in record), "")
    raise DataError(
        f"{where}: {missing}A record needs 'text', or 'prompt' and 'completion', or 'messages'; this one has "
        f"{listed(map(repr, record))}. Rename the columns."
    )


_PAIRS = (("prompt", "completion"), ("completion", "prompt"))


def _completion(prompt: Any, completion: Any, where: str) -> Example:
    if isinstance(prompt, str) and isinstance(completion, str):
        return Pair(prompt, _text(completion, "completion", where), where)
    before = _messages(prompt, "prompt", where)
    after = _messages(completion, "completion", where)
    return Dialog(before + after, len(before), where)


def _text(value: Any, column: str, where: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where}: '{column}' must be text, got {type(value).__name__}.")
    if not value.strip():
        raise DataError(f"{where}: '{column}' is empty; take the record out.")
    return value


def _messages(value: Any, column: str, where: str) -> tuple[tuple[str, str], ...]:
    form = 'a list of {"role": ..., "content": ...}'
    if isinstance(value, str) or not hasattr(value, "__iter__") or not len(value):
        raise DataError(f"{where}: '{column}' must be {form}, got {value!r:.60}.")
    turns = []
    for number, message in enumerate(value, start=1):
        if not isinstance(message, Mapping) or {k for k, v in message.items() if v is not None} != {"role", "content"}:
            raise DataError(f"{where}: message {number} of '{column}' must be {form}, got {message!r:.80}.")
        role, content = message["role"], message["content"]
        if not isinstance(role, str) or not isinstance(content, str):
            raise DataError(f"{where}: message {number} of '{column}' must have text as role and content.")
        turns.append((role, content))
    if column != "prompt" and not any(role == "assistant" and content.strip() for role, content in turns):
        raise DataError(f"{where}: '{column}' has no message of the role 'assistant', so there is nothing to learn.")
    return tuple(turns)

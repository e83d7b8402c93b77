# SPDX-License-Identifier: Apache-2.0
"""Turn examples into token ids and labels, so that the loss counts only what the model is to learn.

    text         every token; a text longer than max_length is split, nothing of it is lost
    pair         the tokens of the completion and the end-of-text token
    dialog       the assistant's turns as the chat template writes them, the end-of-turn token included

A turn's tokens are found by rendering the conversation up to it: the template is trusted to write the same beginning
for a longer conversation, and one that does not is refused. Does not pack several examples into one sequence.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from rankwise.recipes.errors import DataError, ModelError
from rankwise.recipes.examples import Dialog, Example, Pair, Text

IGNORED = -100  # the label that torch's cross entropy leaves out


@dataclass(frozen=True)
class Encoded:
    """One sequence.

    Attributes:
        input_ids: the tokens.
        labels: the same, with IGNORED where no loss is taken.
        question: what the learned tokens answer, for people; empty for a text.
    """

    input_ids: list[int]
    labels: list[int]
    question: str = ""

    @property
    def learned(self) -> int:
        """Number of tokens that the loss counts."""
        return sum(label != IGNORED for label in self.labels[1:])


@dataclass(frozen=True)
class Encoding:
    """All sequences of a data set.

    Attributes:
        items: the sequences.
        cut: how many examples lost tokens at their end.
        dropped: how many examples had nothing left to learn after the cut, and are not among the items.
    """

    items: list[Encoded]
    cut: int
    dropped: int


def encode(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, max_length: int) -> Encoding:
    """Tokenize examples and mark what is learned.

    Raises:
        DataError: if a dialog does not fit the chat template, or nothing is left to learn in any example.
        ModelError: if the tokenizer cannot say which characters a token covers, or has no chat template for dialogs.
    """
    if not tokenizer.is_fast:
        raise ModelError(
            f"{type(tokenizer).__name__} is a slow tokenizer, which has no offsets; use a model with a tokenizer.json."
        )
    items, cut, dropped = [], 0, 0
    for example in examples:
        whole = _encoded(example, tokenizer)
        if isinstance(example, Text):
            starts = range(0, len(whole.input_ids), max_length)
            parts = [_slice(whole, start, start + max_length) for start in starts]
            items += [part for part in parts if part.learned]
            continue
        part = _slice(whole, 0, max_length)
        cut += len(whole.input_ids) > max_length
        dropped += not part.learned
        items += [part] if part.learned else []
    if not items:
        raise DataError(
            f"nothing is left to learn: all {len(examples)} examples are empty or have no token of an answer within "
            f"max_length={max_length}; raise max_length."
        )
    return Encoding(items, cut, dropped)


def prompt_of(item: Encoded) -> list[int]:
    """The tokens before the first learned one; of a text, its first quarter."""
    if item.labels[0] != IGNORED:
        return item.input_ids[: max(1, len(item.input_ids) // 4)]
    return item.input_ids[: next(i for i, label in enumerate(item.labels) if label != IGNORED)]


def _slice(item: Encoded, start: int, stop: int) -> Encoded:
    return replace(item, input_ids=item.input_ids[start:stop], labels=item.labels[start:stop])


def _encoded(example: Example, tokenizer: PreTrainedTokenizerBase) -> Encoded:
    if isinstance(example, Dialog):
        text, spans = _rendered(example, tokenizer)
        tokens = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        item = _masked(tokens["input_ids"], tokens["offset_mapping"], spans)
        return replace(item, question=next((c for r, c in reversed(example.messages) if r == "user"), ""))
    if isinstance(example, Pair):
        tokens = tokenizer(example.prompt + example.completion, return_offsets_mapping=True)
        end = len(example.prompt) + len(example.completion)
        item = _masked(tokens["input_ids"], tokens["offset_mapping"], [(len(example.prompt), end)])
        item = replace(item, question=example.prompt)
    else:
        ids = tokenizer(example.text)["input_ids"]
        item = Encoded(ids, list(ids))
    eos = tokenizer.eos_token_id
    if eos is None:
        return item
    without = item.input_ids[:-1] if item.input_ids[-1] == eos else item.input_ids  # some tokenizers add it themselves
    return replace(item, input_ids=[*without, eos], labels=[*item.labels[: len(without)], eos])


def _masked(ids: list[int], offsets: list[tuple[int, int]], spans: list[tuple[int, int]]) -> Encoded:
    """Labels for the tokens that cover a character of one of the spans."""

    def learned(start: int, stop: int) -> bool:
        return any(start < end and stop > begin for begin, end in spans) and stop > start

    return Encoded(ids, [token if learned(*place) else IGNORED for token, place in zip(ids, offsets, strict=True)])


def _rendered(dialog: Dialog, tokenizer: PreTrainedTokenizerBase) -> tuple[str, list[tuple[int, int]]]:
    """The conversation as text, and where in it the learned turns stand."""
    if not tokenizer.chat_template:
        raise ModelError(
            "this model's tokenizer has no chat template, so it cannot learn from messages; use an instruct model, or "
            "data with 'text' or with 'prompt' and 'completion' as plain text."
        )
    messages = [{"role": role, "content": content} for role, content in dialog.messages]
    text = _template(messages, tokenizer, dialog.where, opened=False)
    spans = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant" or index < dialog.first:
            continue
        if index == 0:
            raise DataError(f"{dialog.where}: the conversation begins with the assistant; put the question before it.")
        before = _template(messages[:index], tokenizer, dialog.where, opened=True)
        upto = _template(messages[: index + 1], tokenizer, dialog.where, opened=False).rstrip()
        if not upto.startswith(before) or not text.startswith(upto):
            raise DataError(
                f"{dialog.where}: the chat template rewrites earlier turns when the conversation goes on, so turn "
                f"{index + 1} cannot be told apart; split the conversation after each assistant turn into records of "
                "'prompt' and 'completion' messages."
            )
        spans.append((len(before), len(upto)))
    return text, spans


def chat_text(messages: list[dict[str, str]], tokenizer: PreTrainedTokenizerBase, *, opened: bool) -> str:
    """A conversation as the chat template writes it; `opened` with the beginning of the assistant's next turn."""
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=opened))


def _template(messages: list[dict[str, str]], tokenizer: PreTrainedTokenizerBase, where: str, *, opened: bool) -> str:
    try:
        return chat_text(messages, tokenizer, opened=opened)
    except TemplateError as error:
        raise DataError(f"{where}: the model's chat template refuses the conversation: {error}") from error

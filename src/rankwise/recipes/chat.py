# SPDX-License-Identifier: Apache-2.0
"""A conversation with a model, token by token; greedy, so the same questions give the same answers."""

from collections.abc import Callable

from transformers import PreTrainedModel, PreTrainedTokenizerBase, TextStreamer

from rankwise.recipes.encode import chat_text
from rankwise.recipes.evaluate import answer


class Conversation:
    """A conversation with one model.

    A model without a chat template continues the text instead, and does not remember earlier turns.

    Attributes:
        model: the model.
        tokenizer: its tokenizer.
        messages: the turns so far.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.messages: list[dict[str, str]] = []

    def reply(self, text: str, length: int, show: Callable[[str], None]) -> str:
        """Answer a message.

        Args:
            text: what the user says.
            length: at most this many new tokens.
            show: gets the answer in pieces, as it comes.
        """
        self.messages.append({"role": "user", "content": text})
        said = answer(self.model, self.tokenizer, self._prompt(), length, _Pieces(self.tokenizer, show))
        self.messages.append({"role": "assistant", "content": said})
        return said

    def _prompt(self) -> list[int]:
        if not self.tokenizer.chat_template:
            return self.tokenizer(self.messages[-1]["content"])["input_ids"]
        text = chat_text(self.messages, self.tokenizer, opened=True)
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


class _Pieces(TextStreamer):
    """Hands whole words to a function."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, show: Callable[[str], None]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.show = show

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Pass a piece on."""
        self.show(text)

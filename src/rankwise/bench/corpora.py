# SPDX-License-Identifier: Apache-2.0
"""What a language model is adapted to, and the plain text that it should not forget.

    stdlib    signatures of the standard library and their docstrings; no module on two sides, validation and test halve
              the modules that the recipe's own split holds out
    gsm8k     worked answers to school problems; validation is a tenth of the training file, test the test file

Each side is in an order that a constant decides, so its first examples are a sample of it. Nothing is downloaded.
"""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rankwise.bench.task import BenchError
from rankwise.errors import listed, nearest
from rankwise.recipes.examples import Dialog, Text
from rankwise.recipes.stdlib_pairs import stdlib_pairs

_T = TypeVar("_T")
_ORDER_SEED = 20
_ALL = 1_000_000  # more pairs than any standard library gives
_LETTERS = 8  # a token of prose covers fewer on average


@dataclass(frozen=True)
class Corpus:
    """Dialogs by side; no dialog is on two of them."""

    train: list[Dialog]
    validation: list[Dialog]
    test: list[Dialog]


def read_corpus(name: str, data: Path | None) -> Corpus:
    """The corpus of a name.

    Args:
        name: a key of CORPORA.
        data: the folder of data sets, None if there is none.

    Raises:
        BenchError: if there is no such corpus, or its files are not there or not as they should be.
    """
    if name not in CORPORA:
        raise BenchError(f"corpus={name!r}: there are {listed(CORPORA)}. {nearest(name, CORPORA)}")
    return CORPORA[name](data)


def stdlib_corpus(library: Path | None = None) -> Corpus:
    """Signatures and docstrings of the running Python's standard library, or of the one in a folder."""
    train, held_out = stdlib_pairs(library, train=_ALL, held_out=_ALL)
    modules = _shuffled(sorted({_package(one) for one in held_out}))
    validation = set(modules[::2])
    return Corpus(
        _shuffled(train),
        _shuffled([one for one in held_out if _package(one) in validation]),
        _shuffled([one for one in held_out if _package(one) not in validation]),
    )


def gsm8k_corpus(data: Path | None) -> Corpus:
    """The problems of GSM8K.

    Raises:
        BenchError: if the files are not there, or a line has no question and answer.
    """
    if data is None or not all((data / "gsm8k" / name).is_file() for name in ("train.jsonl", "test.jsonl")):
        raise BenchError(
            f"corpus='gsm8k' needs gsm8k/train.jsonl and gsm8k/test.jsonl in the folder of data, which is "
            f"{data or 'not given'}; put the files of openai/grade-school-math on GitHub there, or take "
            "corpus='stdlib', which needs none."
        )
    train = _shuffled(_problems(data / "gsm8k" / "train.jsonl"))
    cut = len(train) // 10
    return Corpus(train[cut:], train[:cut], _shuffled(_problems(data / "gsm8k" / "test.jsonl")))


def shakespeare(data: Path | None, count: int, tokens: int) -> list[Text]:
    """Evenly spaced pieces of tiny Shakespeare, each with more than that many tokens; none if the file is not there."""
    path = None if data is None else data / "tinyshakespeare" / "input.txt"
    if path is None or not path.is_file():
        return []
    text, length = path.read_text(encoding="utf-8"), tokens * _LETTERS
    if len(text) < count * length:
        raise BenchError(f"{path} has {len(text)} characters; {count} pieces of {tokens} tokens take {count * length}.")
    step = len(text) // count
    return [Text(text[i * step : i * step + length], f"{path.name}, character {i * step}") for i in range(count)]


def _problems(path: Path) -> list[Dialog]:
    dialogs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, Mapping) or not {"question", "answer"} <= row.keys():
            raise BenchError(f"{path}, line {number}, has no 'question' and 'answer'; get the file of GSM8K itself.")
        dialogs.append(Dialog((("user", row["question"]), ("assistant", row["answer"])), 0, f"{path.name}, {number}"))
    return dialogs


def _package(dialog: Dialog) -> str:
    return dialog.where.split(".", maxsplit=1)[0]


def _shuffled(items: list[_T]) -> list[_T]:
    return random.Random(_ORDER_SEED).sample(items, len(items))


CORPORA: dict[str, Callable[[Path | None], Corpus]] = {
    "stdlib": lambda data: stdlib_corpus(),
    "gsm8k": gsm8k_corpus,
}

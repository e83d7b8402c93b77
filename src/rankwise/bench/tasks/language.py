# SPDX-License-Identifier: Apache-2.0
"""A language model learns to answer: SmolLM2-135M-Instruct on docstrings or on school problems.

    perplexity = exp(mean of -log p(token) over the tokens of held-out answers)

Retention is the perplexity of tiny Shakespeare, which nothing is trained on. With `frozen_layers` the lower part of the
model runs once, see `rankwise.bench.upper_layers`; adapters then sit on the linear layers above it. The tables of
embeddings and of the output head are never trained, by full fine-tuning neither.
"""

import math
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from rankwise.bench.corpora import Corpus, read_corpus, shakespeare
from rankwise.bench.pretrained import fingerprint, pretrained
from rankwise.bench.task import Adapted, Batch, Bench, BenchError, Scores, Task
from rankwise.bench.upper_layers import Entering, UpperLayers, learned, require_layers
from rankwise.errors import listed, nearest
from rankwise.recipes.batches import Collator, order
from rankwise.recipes.encode import Encoded, encode
from rankwise.recipes.examples import Dialog, Text
from rankwise.recipes.models import DTYPES, load_model, pad_token
from rankwise.recipes.recipe import SMOLLM2

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_UNCUT = 1_000_000  # tokens


@dataclass(frozen=True)
class Sides:
    """The sequences of a task.

    Attributes:
        train: what is trained on.
        validation: what the learning rate is chosen by.
        test: what is judged.
        kept: other text, for the retention; empty if there is none.
    """

    train: list[Encoded]
    validation: list[Encoded]
    test: list[Encoded]
    kept: list[Encoded] = field(default_factory=list)


@dataclass(frozen=True)
class Language(Task):
    """SmolLM2-135M-Instruct learns the answers of a corpus.

    Attributes:
        corpus: "stdlib" or "gsm8k", see `rankwise.bench.corpora`.
        frozen_layers: how many of the 30 layers, from the bottom, are not adapted.
        dtype: of the model, "float32" or "bfloat16".
        batch_size: sequences of a training batch.
        max_length: longer sequences are left out of every side.
        train: sequences to train on.
        held_out: sequences to validate on, and as many others to test on.
        pieces: pieces of Shakespeare.
        piece_length: tokens of a piece.
    """

    name: ClassVar[str] = "language"
    quality: ClassVar[str] = "perplexity of held-out answers"
    retention: ClassVar[str] = "perplexity of tiny Shakespeare"
    higher_is_better: ClassVar[bool] = False

    steps: int = 20
    corpus: str = "stdlib"
    frozen_layers: int = 26
    dtype: str = "float32"
    batch_size: int = 4
    max_length: int = 96
    train: int = 80
    held_out: int = 24
    pieces: int = 6
    piece_length: int = 64

    def prepare(self, data: Path | None, cache: Path) -> "LanguageBench":
        """Read the corpus and the model, and run the frozen layers or read what they gave.

        Raises:
            BenchError: if a setting is out of range, or the corpus is not there or too small.
            ModelError: if the package with the model is not installed.
        """
        if self.dtype not in DTYPES:
            raise BenchError(f"dtype={self.dtype!r}: there are {listed(DTYPES)}. {nearest(self.dtype, DTYPES)}")
        corpus, text = read_corpus(self.corpus, data), shakespeare(data, self.pieces, self.piece_length)
        model, tokenizer = load_model(SMOLLM2, DTYPES[self.dtype])
        assert isinstance(model, LlamaForCausalLM)
        return LanguageBench(self, model, self.sides(corpus, text, tokenizer), pad_token(tokenizer), cache)

    def sides(self, corpus: Corpus, text: Sequence[Text], tokenizer: PreTrainedTokenizerBase) -> Sides:
        """The sequences of a corpus and of pieces of other text.

        Raises:
            BenchError: if a side has too few.
        """
        return Sides(
            self._first(corpus.train, self.train, tokenizer),
            self._first(corpus.validation, self.held_out, tokenizer),
            self._first(corpus.test, self.held_out, tokenizer),
            [encode([one], tokenizer, self.piece_length).items[0] for one in text],
        )

    def _first(self, dialogs: list[Dialog], count: int, tokenizer: PreTrainedTokenizerBase) -> list[Encoded]:
        items = [one for one in encode(dialogs, tokenizer, _UNCUT).items if len(one.input_ids) <= self.max_length]
        if len(items) < count:
            raise BenchError(
                f"corpus={self.corpus!r} has {len(items)} sequences of at most {self.max_length} tokens on a side that "
                f"is to have {count}; lower train or held_out, or raise max_length."
            )
        return items[:count]


class LanguageBench(Bench):
    """The upper layers of a model, and what enters them for every sequence.

    Args:
        task: the settings.
        model: the whole model; not changed and not kept.
        sides: the sequences.
        pad: id of the padding token.
        cache: where the outputs of the frozen layers are kept.

    Raises:
        BenchError: if the model has no more layers than are to be frozen.
    """

    targets = TARGETS
    values = ("task",)

    def __init__(self, task: Language, model: LlamaForCausalLM, sides: Sides, pad: int, cache: Path) -> None:
        require_layers(model, task.frozen_layers)
        self.task, self.device, self.collator = task, model.device, Collator(pad)
        self.upper = UpperLayers(model, task.frozen_layers).eval()
        parts = (sides.train, sides.validation, sides.test, sides.kept)
        self.items = list(chain(*parts))
        places = iter(range(len(self.items)))
        self.train, self.validation, self.test, self.kept = ([next(places) for _ in part] for part in parts)
        self.entering = _entering(task, model, self.items, pad, cache).to(model.device)

    def base(self, seed: int) -> nn.Module:
        """A copy of the upper layers; the seed decides nothing."""
        return deepcopy(self.upper)

    def head(self, model: nn.Module) -> list[nn.Parameter]:
        """None: the model's own head stays as it is."""
        return []

    def batches(self, count: int, seed: int) -> Iterator[Batch]:
        """Batches of sequences of like lengths, padded on the right."""
        size = self.task.batch_size
        chosen = order([len(self.items[index].input_ids) for index in self.train], size, count * size, seed)
        return (self._batch([self.train[i] for i in chosen[k * size : (k + 1) * size]]) for k in range(count))

    def run(self, adapted: Adapted, batch: Batch) -> Tensor:
        """The logits of the answers' tokens, one row each."""
        with adapted.context(task=torch.zeros(len(batch["labels"]), dtype=torch.long, device=self.device)):
            return adapted.model(**batch)

    def loss(self, adapted: Adapted, batch: Batch) -> Tensor:
        """Mean cross entropy of the answers' tokens."""
        return F.cross_entropy(self.run(adapted, batch).float(), _answers(batch))

    def score(self, adapted: Adapted) -> Scores:
        """The perplexities."""
        retention = self.perplexity(adapted, self.kept) if self.kept else None
        return Scores(self.perplexity(adapted, self.validation), self.perplexity(adapted, self.test), retention)

    def perplexity(self, adapted: Adapted, indices: Sequence[int]) -> float:
        """The perplexity of the answers of some sequences; infinite if it is too large for a float."""
        ranked, size = sorted(indices, key=lambda index: len(self.items[index].input_ids)), self.task.batch_size
        total, count = 0.0, 0
        for start in range(0, len(ranked), size):
            batch = self._batch(ranked[start : start + size])
            answers = _answers(batch)
            total += float(F.cross_entropy(self.run(adapted, batch).float(), answers, reduction="sum"))
            count += len(answers)
        return math.exp(total / count) if total / count < 700 else math.inf

    def _batch(self, indices: Sequence[int]) -> Batch:
        items = [self.items[index] for index in indices]
        batch = {name: value.to(self.device) for name, value in self.collator(items).items() if name != "input_ids"}
        return {"inputs_embeds": self.entering.padded(indices, items), **batch}


def _answers(batch: Batch) -> Tensor:
    return batch["labels"].roll(-1, 1)[learned(batch["labels"])]


def _entering(task: Language, model: LlamaForCausalLM, items: list[Encoded], pad: int, cache: Path) -> Entering:
    """What enters the upper layers; computed or, if it was computed before from the same, read."""

    def build() -> Entering:
        return Entering(model, task.frozen_layers, [len(item.input_ids) for item in items])

    def fill(entering: Entering) -> None:
        entering.fill(model, items, pad)

    if not task.frozen_layers:
        return build()
    layers = model.model.layers[: task.frozen_layers].state_dict()
    tokens = torch.tensor(list(chain.from_iterable(item.input_ids for item in items)))
    settings = {
        "frozen_layers": task.frozen_layers,
        "dtype": task.dtype,
        "lengths": [len(item.input_ids) for item in items],
        "tokens": fingerprint(tokens),
        "weights": fingerprint(
            model.model.embed_tokens.weight.detach().float(), *(one.float() for one in layers.values())
        ),
    }
    return pretrained(cache, task.name, settings, build, fill)

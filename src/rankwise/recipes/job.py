# SPDX-License-Identifier: Apache-2.0
"""A run with everything loaded: model, adapter and sequences, from a recipe and its data."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rankwise.core.adapt import adapt
from rankwise.core.adaptation import Adaptation
from rankwise.core.load import load
from rankwise.errors import listed
from rankwise.recipes.batches import Collator, Ordered
from rankwise.recipes.data import Data
from rankwise.recipes.encode import Encoded, encode
from rankwise.recipes.errors import DataError, ModelError, RecipeError
from rankwise.recipes.models import chosen_dtype, load_model, pad_token
from rankwise.recipes.recipe import TuneRecipe, with_total_steps


@dataclass(frozen=True)
class Job:
    """A run with everything loaded.

    Attributes:
        recipe: its settings.
        model: the model, with the adapter on it.
        tokenizer: its tokenizer.
        adaptation: the adapter.
        train: sequences to train on.
        held_out: sequences kept apart.
        steps: optimizer steps of the whole run.
    """

    recipe: TuneRecipe
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    adaptation: Adaptation
    train: list[Encoded]
    held_out: list[Encoded]
    steps: int

    @property
    def collator(self) -> Collator:
        """Makes batches."""
        return Collator(pad_token(self.tokenizer))

    @property
    def data_digest(self) -> str:
        """SHA-256 of all sequences, so that a resumed run can tell whether it goes on with the same data."""
        digest = hashlib.sha256()
        for item in (*self.train, *self.held_out):
            digest.update(torch.tensor([*item.input_ids, *item.labels, -1]).numpy().tobytes())
        return digest.hexdigest()


def load_job(recipe: TuneRecipe, data: Data, console: Console, checkpoint: Path | None = None) -> Job:
    """Load the model, encode the data and put the adapter on: a new one, or the one of a checkpoint.

    Raises:
        RankwiseError: if model, data and recipe do not fit together.
    """
    _require_one_process_and_gpu()
    if recipe.method.inputs:
        raise RecipeError(
            f"{type(recipe.method).__name__} reads {listed(recipe.method.inputs)} for each example, and tune does not "
            "give it; train from Python, with `adaptation.context(...)` around the forward pass."
        )
    console.print(f"[bold]data[/bold]     {data.source}")
    with console.status(f"loading {recipe.model}"):
        model, tokenizer = load_model(recipe.model, chosen_dtype(recipe.dtype))
    train, held_out = _split(recipe, data, tokenizer, console)
    steps = recipe.steps or math.ceil(len(train) * recipe.epochs / (recipe.batch_size * recipe.accumulate))
    if checkpoint is None:
        method, batches = with_total_steps(recipe.method, steps), None
        if method.calibrated:
            batches = DataLoader(
                Ordered(train, range(len(train))), recipe.batch_size, collate_fn=Collator(pad_token(tokenizer))
            )
        adaptation = adapt(model, method, recipe.targets, seed=recipe.seed, calibration=batches)
    else:
        adaptation = load(model, checkpoint)
    summary = adaptation.summary()
    console.print(
        f"[bold]adapter[/bold]  {type(recipe.method).__name__} on {len(summary.rows)} of {summary.candidates} weights, "
        f"{summary.trainable:,} trainable parameters ({summary.trainable / summary.total:.2%})",
    )
    return Job(recipe, model, tokenizer, adaptation, train, held_out, steps)


def _split(
    recipe: TuneRecipe, data: Data, tokenizer: PreTrainedTokenizerBase, console: Console
) -> tuple[list[Encoded], list[Encoded]]:
    """Sequences to train on and sequences held out."""
    encoding = encode(data.train, tokenizer, recipe.max_length)
    train = encoding.items
    if data.held_out is not None:
        held_out = encode(data.held_out, tokenizer, recipe.max_length).items[: recipe.held_out]
    else:
        if len(train) < 2:
            raise DataError(f"{data.source} gives one sequence only; at least two are needed, one of them held out.")
        shuffled = torch.randperm(len(train), generator=torch.Generator().manual_seed(recipe.seed)).tolist()
        count = min(recipe.held_out, max(1, len(train) // 10))
        train, held_out = [train[i] for i in sorted(shuffled[count:])], [train[i] for i in shuffled[:count]]
    note = f", {encoding.cut} cut at {recipe.max_length} tokens" if encoding.cut else ""
    note += f", {encoding.dropped} left out because the cut took the whole answer" if encoding.dropped else ""
    console.print(f"         {len(train)} sequences to train on, {len(held_out)} held out{note}")
    return train, held_out


def _require_one_process_and_gpu() -> None:
    count = torch.cuda.device_count()
    if count > 1 or torch.distributed.is_torchelastic_launched():
        raise ModelError(
            f"tune runs in one process on one device, and {count} GPUs are visible; set CUDA_VISIBLE_DEVICES to one of "
            "them and start without torchrun. For several, use transformers.Trainer with RankwiseCallback."
        )

# SPDX-License-Identifier: Apache-2.0
"""Open what a run left: the base model that its recipe names, and its adapter on it."""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rankwise.core.adaptation import Adaptation
from rankwise.core.files import DESCRIPTION
from rankwise.core.load import load
from rankwise.recipes.errors import ModelError
from rankwise.recipes.folder import RECIPE
from rankwise.recipes.models import load_model
from rankwise.recipes.recipe import TuneRecipe, read_recipe


@dataclass(frozen=True)
class Tuned:
    """A model with a saved adapter on it.

    Attributes:
        model: the model.
        tokenizer: its tokenizer.
        adaptation: the adapter; None if the folder holds a merged model.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    adaptation: Adaptation | None


def base_of(folder: Path, model: str | None) -> str:
    """The name of the base model of a saved adapter: as given, or as the recipe beside the adapter says.

    Raises:
        ModelError: if neither is there.
    """
    if not (folder / DESCRIPTION).is_file():
        raise ModelError(f"{folder} holds no adapter ({DESCRIPTION}); pass the folder that `rankwise tune` wrote.")
    if model is not None:
        return model
    if not (folder / RECIPE).is_file():
        raise ModelError(f"{folder} has no {RECIPE} that names the base model; pass it with --model.")
    return TuneRecipe.from_mapping(read_recipe(folder / RECIPE)).model


def open_adapter(folder: Path, model: str | None, dtype: torch.dtype) -> tuple[Tuned, Adaptation]:
    """Load the base model in a dtype and put the adapter on.

    Raises:
        ModelError: if the folder holds no adapter, or the base is not known or cannot be loaded.
        CheckpointError: if the adapter is damaged or belongs to another base.
    """
    base, tokenizer = load_model(base_of(folder, model), dtype)
    adaptation = load(base, folder)
    return Tuned(base, tokenizer, adaptation), adaptation


def open_tuned(folder: Path, model: str | None, dtype: torch.dtype) -> Tuned:
    """Load the result of a run, or a model that was merged from one.

    Raises:
        ModelError: if the folder holds neither.
        CheckpointError: if the adapter is damaged or belongs to another base.
    """
    if (folder / "config.json").is_file() and not (folder / DESCRIPTION).is_file():
        base, tokenizer = load_model(str(folder), dtype)
        return Tuned(base, tokenizer, None)
    return open_adapter(folder, model, dtype)[0]

# SPDX-License-Identifier: Apache-2.0
"""Write a model with adapters merged into its weights, in the layout that transformers loads.

    W = round(W0 + sum_i scale_i delta_i)

The base is loaded in the dtype of the result, so the report says what share of each update the rounding ate. The folder
appears whole or not at all.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rankwise.core.load import load
from rankwise.core.merge import MergeReport
from rankwise.recipes.errors import OutputError, RecipeError
from rankwise.recipes.folder import new_folder, writing
from rankwise.recipes.models import DTYPES, load_model
from rankwise.recipes.tuned import base_of


@dataclass(frozen=True)
class Part:
    """An adapter that is to be merged.

    Attributes:
        folder: where it is saved.
        scale: what its delta is multiplied with, beside the scale it was saved with.
    """

    folder: Path
    scale: float = 1.0


def export(folder: Path, out: Path, model: str | None, dtype: str) -> MergeReport:
    """Write the model of a finished run with its adapter merged.

    Args:
        folder: the run's folder.
        out: the folder to make; must not exist or be empty.
        model: the base model; None takes the one in the recipe.
        dtype: "bfloat16", "float16" or "float32".

    Returns:
        What the rounding ate.

    Raises:
        RankwiseError: if the adapter or the base cannot be loaded, or `out` cannot be written.
    """
    return merge_into(base_of(folder, model), [Part(folder)], out, dtype)


def merge_into(model: str, parts: Sequence[Part], out: Path, dtype: str) -> MergeReport:
    """Write a model with the sum of several adapters merged.

    Args:
        model: the base model.
        parts: the adapters.
        out: the folder to make; must not exist or be empty.
        dtype: "bfloat16", "float16" or "float32".

    Returns:
        What the rounding ate.

    Raises:
        RankwiseError: if an adapter or the base cannot be loaded, or `out` cannot be written.
    """
    if dtype not in DTYPES:
        raise RecipeError(f"dtype must be one of {', '.join(sorted(DTYPES))}, got {dtype!r}.")
    if not parts:
        raise RecipeError("there is nothing to merge; pass at least one folder with an adapter.")
    new_folder(out)
    try:
        return _merge(model, parts, out, dtype)
    except BaseException:
        out.rmdir()  # still empty
        raise


def _merge(model: str, parts: Sequence[Part], out: Path, dtype: str) -> MergeReport:
    base, tokenizer = load_model(model, DTYPES[dtype])
    adaptations = [load(base, part.folder, name=f"part-{number}") for number, part in enumerate(parts)]
    lost: dict[str, float] = {}
    for adaptation, part in zip(adaptations, parts, strict=True):
        adaptation.scale *= part.scale
        lost |= adaptation.merge().lost  # a later merge reports on the sum up to it
    for adaptation in adaptations:
        adaptation.remove()
    partial = out.with_name(out.name + ".partial")
    if partial.exists():
        raise OutputError(f"{partial} is in the way, left by a merge that was cut off; remove it.")
    try:
        with writing(str(out), "Free some space or choose another folder."):
            base.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
            partial.replace(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return MergeReport(lost)

# SPDX-License-Identifier: Apache-2.0
"""What DATA on the command line means: `stdlib`, a file, or a dataset of the Hugging Face hub.

Only the hub needs a network, and only for a dataset that is not in its cache.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rankwise.recipes.errors import DataError
from rankwise.recipes.examples import Example
from rankwise.recipes.readers import READERS, missing_file, read_file, records
from rankwise.recipes.recipe import STDLIB
from rankwise.recipes.stdlib_pairs import stdlib_pairs

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Data:
    """Examples as they were read.

    Attributes:
        train: examples to train on.
        held_out: examples that the source itself keeps apart; None if the recipe is to split.
        source: where they come from, in words.
    """

    train: Sequence[Example]
    held_out: Sequence[Example] | None
    source: str


def read_data(name: str) -> Data:
    """The examples that a recipe's `data` names.

    Raises:
        DataError: if nothing of that name is found or it cannot be read; the message says what was tried.
    """
    if name == STDLIB:
        train, held_out = stdlib_pairs()
        return Data(train, held_out, "docstrings of this Python's standard library, held out by module")
    path = Path(name).expanduser()
    if path.is_file():
        return Data(read_file(path), None, str(path))
    if path.is_dir():
        raise DataError(f"{path} is a folder; pass one file of it, ending in {', '.join(READERS)}.")
    if path.suffix.lower() in READERS or not _HUB_ID.fullmatch(name):
        raise missing_file(path)
    return Data(_from_hub(name), None, f"{name} (Hugging Face hub, split train)")


def _from_hub(name: str) -> list[Example]:
    from datasets import load_dataset  # noqa: PLC0415 - in the extra `hf`
    from datasets.exceptions import DatasetsError  # noqa: PLC0415

    try:
        dataset = load_dataset(name, split="train")
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"DATA {name!r} is not {STDLIB!r}, there is no file of that name, and the Hugging Face hub did not give a "
            f"dataset with a split 'train': {first}"
        ) from error
    examples = records(dataset, name)
    if not examples:
        raise DataError(f"the dataset {name} has no rows.")
    return examples

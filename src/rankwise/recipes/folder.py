# SPDX-License-Identifier: Apache-2.0
"""The folder a run writes into, and the files it leaves there.

    adapter.json, adapter.safetensors    the adapter
    recipe.yaml                          the exact recipe
    metrics.jsonl                        one line before the run, one a step, one after it
    loss.png                             the loss over the steps
    result.json                          what the closing table shows; written last, so it marks a complete run
    checkpoints/                         while the run goes on

Every file but the metrics is written whole or not at all; a line of the metrics that was cut off is not read.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankwise.errors import CheckpointError, RankwiseError
from rankwise.recipes.errors import OutputError

RECIPE, METRICS, PLOT, RESULT, CHECKPOINTS = "recipe.yaml", "metrics.jsonl", "loss.png", "result.json", "checkpoints"


def new_folder(path: Path) -> Path:
    """Make an output folder, which must not exist or be empty, and check that it can be written.

    Raises:
        OutputError: if it holds something or cannot be written.
    """
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file; pass a folder as --out.")
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            run = " It holds a run: `rankwise tune --resume` goes on with it." if (path / RECIPE).exists() else ""
            raise OutputError(f"the folder {path} is not empty; pass another --out, or remove it first.{run}")
        probe = path / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise OutputError(f"cannot write to {path}: {error.strerror or error}; pass another --out.") from error
    return path


def free_folder(parent: Path = Path("runs"), stem: str = "tune") -> Path:
    """The first of runs/tune-1, runs/tune-2, ... that does not exist."""
    number = 1
    while (parent / f"{stem}-{number}").exists():
        number += 1
    return parent / f"{stem}-{number}"


@contextmanager
def writing(what: str, advice: str) -> Iterator[None]:
    """Turn a failed write inside the block into an OutputError that ends with `advice`.

    torch.save and safetensors report a full disk as RuntimeError, hence more than OSError is caught.
    """
    try:
        yield
    except CheckpointError as error:
        raise OutputError(f"{error} {advice}") from error
    except RankwiseError:
        raise
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[0]
        raise OutputError(f"writing {what} failed: {reason}. {advice}") from error


def write_whole(path: Path, content: str) -> None:
    """Write a file under a temporary name, sync it and rename it, so that it is there whole or not at all.

    Raises:
        OutputError: if it cannot be written.
    """
    draft = path.with_name(path.name + ".draft")
    with writing(str(path), "Free some space or choose another folder."):
        with draft.open("w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True)
class Metrics:
    """The file of JSON lines that a run appends to.

    Attributes:
        path: the file.
    """

    path: Path

    def append(self, record: dict[str, Any]) -> None:
        """Add one line.

        Raises:
            OutputError: if it cannot be written.
        """
        advice = f"Free some space, then go on with `rankwise tune --resume {self.path.parent}`."
        with writing(str(self.path), advice), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The whole records of one kind; a last line that a crash cut off is left out."""
        return [record for record in self._whole() if record["event"] == event]

    def rewind(self, step: int) -> None:
        """Take out what came after a step, and a line that was cut off."""
        kept = [r for r in self._whole() if r["event"] == "before" or (r["event"] == "step" and r["step"] <= step)]
        write_whole(self.path, "".join(json.dumps(record) + "\n" for record in kept))

    def _whole(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        text = self.path.read_text(encoding="utf-8")
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

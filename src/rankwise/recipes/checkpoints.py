# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that are complete or not there.

A checkpoint is written to a staging folder, gets a manifest with the digest of every file, is synced to the disk and
then renamed. A kill at any moment leaves a staging folder that nobody reads, or a complete checkpoint. One whose files
do not match its manifest, as a failing disk may leave it, is passed over for the one before.
"""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

from rankwise.recipes.folder import sync_folder

MANIFEST = "manifest.json"
_STAGING = "staging"
_NAME = re.compile(r"checkpoint-(\d+)")


def staging(folder: Path) -> Path:
    """An empty folder to write the next checkpoint into."""
    path = folder / _STAGING
    if path.exists():
        shutil.rmtree(path)
    path.mkdir(parents=True)
    return path


def publish(staged: Path, folder: Path) -> Path:
    """Make a staged checkpoint the one of its name, complete and durable.

    Args:
        staged: the written checkpoint, named checkpoint-STEP, inside the staging folder.
        folder: the folder of all checkpoints.
    """
    digests = {path.name: _digest(path) for path in sorted(staged.iterdir())}
    (staged / MANIFEST).write_text(json.dumps(digests, indent=1), encoding="utf-8")
    for path in staged.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(staged)
    final = folder / staged.name
    if final.exists():  # a damaged one that the run went behind
        shutil.rmtree(final)
    staged.rename(final)
    sync_folder(folder)
    return final


def newest(folder: Path) -> tuple[int, Path] | None:
    """The step and the folder of the newest complete checkpoint, None if there is none."""
    for step, path in reversed(_all(folder)):
        if _is_complete(path):
            return step, path
    return None


def prune(folder: Path, keep: int = 2) -> None:
    """Remove all but the newest checkpoints."""
    for _, path in _all(folder)[:-keep]:
        shutil.rmtree(path)


def _all(folder: Path) -> list[tuple[int, Path]]:
    if not folder.is_dir():
        return []
    named = [(_NAME.fullmatch(path.name), path) for path in folder.iterdir()]
    return sorted((int(match[1]), path) for match, path in named if match)


def _is_complete(path: Path) -> bool:
    try:
        digests = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    files = {entry.name: entry for entry in path.iterdir() if entry.name != MANIFEST}
    return files.keys() == digests.keys() and all(_digest(files[name]) == value for name, value in digests.items())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

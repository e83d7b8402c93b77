# SPDX-License-Identifier: Apache-2.0
"""A folder of two files that is always the old one or the new one.

adapter.json names the SHA-256 of the tensor file it belongs to. Saving writes the new tensors beside the old ones
(adapter.safetensors.next), then renames adapter.json into place, which is the moment of the commit, then the tensors.
A crash before the commit leaves the old pair; a crash after it leaves the new JSON with the tensors under either name.
Every file is fsynced before its rename and the folder after it.
"""

import hashlib
import os
from pathlib import Path

from rankwise.errors import CheckpointError

DESCRIPTION = "adapter.json"
TENSORS = "adapter.safetensors"
_NEXT = TENSORS + ".next"
_DRAFT = DESCRIPTION + ".draft"


def digest(content: bytes) -> str:
    """SHA-256 of a file's content."""
    return hashlib.sha256(content).hexdigest()


def commit(folder: Path, description: bytes, tensors: bytes) -> None:
    """Replace the folder's pair of files.

    Args:
        folder: made if it does not exist.
        description: the JSON, which holds the digest of `tensors`.
        tensors: the tensor file.

    Raises:
        CheckpointError: if the folder cannot be written; what it held stays whole.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _complete(folder)
        _write(folder / _NEXT, tensors)
        _write(folder / _DRAFT, description)
        (folder / _DRAFT).replace(folder / DESCRIPTION)
        _sync_folder(folder)
        (folder / _NEXT).replace(folder / TENSORS)
        _sync_folder(folder)
    except OSError as error:
        if folder.is_dir():
            _complete(folder)
        raise CheckpointError(
            f"cannot write an adapter to {str(folder)!r}: {error.strerror or error}. What was there before is intact; "
            "free some space or choose another folder."
        ) from error


def read(folder: Path) -> tuple[bytes, list[Path]]:
    """The description's bytes, and where its tensors may be.

    Raises:
        CheckpointError: if the folder holds no adapter.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise CheckpointError(
            f"{str(folder)!r} holds no {DESCRIPTION}, so it is not a saved adapter; pass the folder that "
            "adaptation.save() wrote."
        )
    places = [place for place in (folder / TENSORS, folder / _NEXT) if place.is_file()]
    if not places:
        raise CheckpointError(f"{str(folder)!r} holds {DESCRIPTION} but no {TENSORS}; copy the whole folder.")
    return path.read_bytes(), places


def _complete(folder: Path) -> None:
    """Finish a commit that was cut off, and take away what an uncommitted save left."""
    upcoming, description = folder / _NEXT, folder / DESCRIPTION
    if (
        upcoming.is_file()
        and description.is_file()
        and digest(upcoming.read_bytes()).encode() in description.read_bytes()
    ):
        upcoming.replace(folder / TENSORS)
        _sync_folder(folder)
    _discard(upcoming, folder / _DRAFT)


def _discard(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

# SPDX-License-Identifier: Apache-2.0
"""Read a file of examples: JSON lines, CSV, Parquet or plain text.

A mistake in a file is an error with the file's name and the line. Lines are decoded one by one, so that a byte that is
not UTF-8 is found in its line. Compressed files and JSON arrays are not read.
"""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rankwise.errors import listed, nearest
from rankwise.recipes.errors import DataError
from rankwise.recipes.examples import Example, Text, example_from


def read_file(path: Path) -> list[Example]:
    """All examples of a file; its ending says how to read it.

    Raises:
        DataError: if the ending is unknown, the file cannot be read or is empty, or a record is wrong.
    """
    if path.suffix.lower() not in READERS:
        raise DataError(f"{path}: the ending {path.suffix!r} is none of {listed(READERS)}; convert or rename the file.")
    try:
        examples = READERS[path.suffix.lower()](path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}.") from error
    if not examples:
        raise DataError(f"{path} holds no example; it is empty.")
    return examples


def _json_lines(path: Path) -> list[Example]:
    examples = []
    for number, line in _lines(path):
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            hint = " JSON lines need one whole object a line." if number == 1 and line.strip() in ("[", "{") else ""
            raise DataError(f"{where}: not JSON ({error.msg} at column {error.colno}).{hint}") from error
        if not isinstance(record, dict):
            raise DataError(f"{where}: must be a JSON object, got {type(record).__name__}; write one object a line.")
        examples.append(example_from(record, where))
    return examples


def _csv(path: Path) -> list[Example]:
    rows = csv.reader((line for _, line in _lines(path)), strict=True)
    examples: list[Example] = []
    try:
        header = next(rows, [])
        for row in rows:
            where = f"{path.name}, line {rows.line_num}"
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(
                    f"{where}: has {len(row)} fields, the header has {len(header)}; put text with commas in quotes."
                )
            examples.append(example_from(dict(zip(header, row, strict=True)), where))
    except csv.Error as error:
        raise DataError(f"{path.name}, line {rows.line_num}: not CSV ({error}).") from error
    return examples


def _parquet(path: Path) -> list[Example]:
    import pyarrow  # noqa: PLC0415 - in the extra `tune`
    import pyarrow.parquet  # noqa: PLC0415

    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except pyarrow.ArrowException as error:
        raise DataError(f"{path.name}: not a Parquet file that can be read ({error}).") from error
    return [example_from(row, f"{path.name}, row {number}") for number, row in enumerate(rows, start=1)]


def _plain(path: Path) -> list[Example]:
    text = "".join(line for _, line in _lines(path))
    return [Text(text, path.name)] if text.strip() else []


READERS: dict[str, Callable[[Path], list[Example]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_lines,
    ".csv": _csv,
    ".parquet": _parquet,
    ".txt": _plain,
    ".md": _plain,
}


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers, a byte order mark taken off."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path.name}, line {number}: byte 0x{raw[error.start]:02x} at position {error.start + 1} is not "
                    "UTF-8; save the file as UTF-8."
                ) from error
            yield number, line


def missing_file(path: Path) -> DataError:
    """The error for a file that is not there; it names the nearest in the same folder."""
    folder = path.parent
    if not folder.is_dir():
        return DataError(f"there is no file {path}: the folder {folder} does not exist.")
    names = [entry.name for entry in folder.iterdir() if entry.suffix.lower() in READERS]
    return DataError(f"there is no file {path}. {nearest(path.name, names)}")


def records(dataset: Any, name: str) -> list[Example]:
    """The examples of a loaded Hugging Face dataset."""
    return [example_from(row, f"{name}, row {number}") for number, row in enumerate(dataset, start=1)]

# SPDX-License-Identifier: Apache-2.0
"""The file of a comparison: one JSON line for each thing found out, so that a killed comparison goes on where it was.

    {"settings": {...}}                                       the first line: what is compared
    {"key": ["fashion", "small", "lora", "run", 0.002, 0], "value": {...}}

A line is appended in one write and synced; one process writes. A last line that a kill cut short is dropped. Reading a
journal of other settings is refused: its runs would not be comparable.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rankwise.bench.task import BenchError

Key = tuple[str | float | int, ...]


class Journal:
    """What a comparison has found out so far.

    Args:
        path: the file; made if it is not there.
        settings: what is compared, as plain data.

    Raises:
        BenchError: if the file holds a comparison with other settings, or is no journal.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        wanted = json.loads(json.dumps(settings))
        lines = _whole_lines(path)
        if lines and lines[0].get("settings") != wanted:
            given = lines[0].get("settings") or {}
            changed = sorted(name for name in given.keys() | wanted.keys() if given.get(name) != wanted.get(name))
            raise BenchError(
                f"{path} holds a comparison with other settings ({', '.join(changed)}); its runs cannot be compared "
                "with these. Repeat its settings to go on with it, or name another folder."
            )
        if not lines:
            self._append({"settings": wanted})
        self.found: dict[Key, dict[str, Any]] = {tuple(line["key"]): line["value"] for line in lines[1:]}

    def get(self, key: Key) -> dict[str, Any] | None:
        """What was found out under a key, None if nothing yet."""
        return self.found.get(key)

    def add(self, key: Key, value: Mapping[str, Any]) -> None:
        """Write down what was found out."""
        self._append({"key": list(key), "value": value})
        self.found[key] = dict(value)

    def _append(self, line: Mapping[str, Any]) -> None:
        data = (json.dumps(line) + "\n").encode()
        try:
            with self.path.open("ab", buffering=0) as file:
                written = file.write(data)
                os.fsync(file.fileno())
        except OSError as error:
            raise BenchError(
                f"cannot write {self.path}: {error.strerror}; mend that and run the same again."
            ) from error
        if written != len(data):
            raise BenchError(f"{self.path} was not written whole; free space on the disk and go on.")


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The journal's lines; a torn last one is cut off the file."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    lines = []
    for number, text in enumerate(data[:whole].splitlines(), start=1):
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if not isinstance(line, dict) or not ({"settings"} if number == 1 else {"key", "value"}) <= line.keys():
            raise BenchError(f"{path}, line {number}, is not a line of a comparison; remove the file or that line.")
        lines.append(line)
    return lines

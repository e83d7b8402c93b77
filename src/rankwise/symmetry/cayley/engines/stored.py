# SPDX-License-Identifier: Apache-2.0
"""The small JSON file by which a search on disk knows itself again: replaced whole, and refused if it is another's."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from rankwise.errors import CheckpointError
from rankwise.symmetry.cayley.families.registry import Graph
from rankwise.symmetry.cayley.graph import PermutationGraph

STATE = "search.json"
RESTART = "Delete the folder to search again from the start."
_FORMAT = 1


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that there is always the old one or the new one, on the disk when this returns."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def store_state(folder: Path, engine: str, graph: Graph, state: dict[str, Any]) -> None:
    """Replace the folder's JSON file."""
    content = {"format": _FORMAT, "engine": engine, "graph": _named(graph)}
    replace_file(folder / STATE, json.dumps(content | state).encode())


def stored_state(folder: Path, engine: str, graph: Graph, fields: tuple[str, ...]) -> dict[str, Any]:
    """What `store_state` wrote.

    Raises:
        CheckpointError: if it is damaged, of a newer format, or of another graph or engine.
    """
    try:
        content = json.loads((folder / STATE).read_text(encoding="utf-8"))
        version, owner, searched = content["format"], content["engine"], content["graph"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, error) from None
    if version != _FORMAT:
        raise CheckpointError(f"{folder} has format {version}, this version reads {_FORMAT}. {RESTART}")
    if searched != _named(graph):
        raise CheckpointError(f"{folder} holds the search of other generators. Give another folder.")
    if owner != engine:
        raise CheckpointError(f"{folder} holds a search of the engine {owner!r}, not {engine!r}. Give another folder.")
    try:
        return {"layers": [int(size) for size in content["layers"]]} | {field: content[field] for field in fields}
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, error) from None


def _damaged(folder: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{folder / STATE} is damaged: {error!r}. {RESTART}")


def _named(graph: Graph) -> dict[str, object]:
    if isinstance(graph, PermutationGraph):
        return {"generators": [list(generator) for generator in graph.distinct], "start": list(graph.start or ())}
    start = graph.start_states[0].tolist()
    return {"matrices": np.unique(graph.moves, axis=0).tolist(), "modulus": graph.modulus, "start": start}

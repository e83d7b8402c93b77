# SPDX-License-Identifier: Apache-2.0
"""A saved adapter: adapter.json (what it is) and adapter.safetensors (its tensors).

The JSON has a closed schema and a format version. It holds the method and its fields, the targets with the fingerprint
of their base weights, the schedule's tensors by name, and the digest of the tensor file. No pickle, no path, no code.
"""

import json
import math
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rankwise.core.adapter import Adapter
from rankwise.core.files import DESCRIPTION, commit, digest, read
from rankwise.core.fingerprint import SAMPLES, fingerprint
from rankwise.core.method import Method
from rankwise.core.sharded import whole
from rankwise.core.slot import Installed
from rankwise.core.tensor_file import from_bytes, to_bytes, unique_json
from rankwise.errors import CheckpointError, MethodError, listed, nearest

FORMAT = 1
_SCHEMA: dict[str, type | tuple[type, ...]] = {
    "format": int,
    "rankwise": str,
    "method": dict,
    "seed": int,
    "scale": (int, float),
    "dtype": str,
    "ranks": dict,
    "targets": dict,
    "digest": str,
    "seal": str,
}
_TARGET = {"shape": list, "dtype": str, "sample": list}
_DTYPES = {str(d).removeprefix("torch."): d for d in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}


@dataclass(frozen=True)
class Record:
    """What a checkpoint is made from."""

    installed: Installed
    adapters: dict[str, Adapter]


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds.

    Attributes:
        path: the tensor file, for messages.
        method: the method.
        seed: the seed it was built from.
        scale: the adapter's scale.
        dtype: dtype of the adapter's tensors.
        ranks: ranks given for some targets; 0 for a weight that got no adapter.
        targets: fingerprints of the base weights by target name.
        tensors: all tensors by key.
    """

    path: str
    method: Method
    seed: int
    scale: float
    dtype: torch.dtype
    ranks: dict[str, int]
    targets: dict[str, dict]
    tensors: dict[str, Tensor]

    def part(self, owner: str) -> dict[str, Tensor]:
        """The tensors of one target, of "shared" or of "schedule", by their own names."""
        prefix = owner + ":"
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}


def save(record: Record, folder: Path) -> None:
    """Write a checkpoint; in a distributed run every process calls this and the first one writes.

    Raises:
        CheckpointError: if the folder cannot be written.
    """
    tensors = {key: whole(value) for key, value in _tensors(record).items()}
    first = next(iter(record.adapters.values()))
    description = {
        "format": FORMAT,
        "rankwise": version("rankwise"),
        "method": record.installed.method.to_dict(),
        "seed": record.installed.seed,
        "scale": record.installed.scale,
        "dtype": _adapter_dtype(first, record.installed),
        "ranks": record.installed.ranks,
        "targets": {name: fingerprint(adapter.target) for name, adapter in record.adapters.items()},
    }
    if torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_rank() != 0:
        return
    content = to_bytes(tensors)
    description["digest"] = digest(content)
    text = json.dumps(description | {"seal": seal(description)}, indent=1, sort_keys=True, allow_nan=False)
    commit(folder, text.encode(), content)


def seal(description: dict) -> str:
    """Digest of everything else in the JSON, so that a flipped bit in a number does not pass for another number."""
    rest = {key: value for key, value in description.items() if key != "seal"}
    return digest(json.dumps(rest, sort_keys=True).encode())


def read_checkpoint(folder: Path) -> Saved:
    """Read and check a checkpoint without a model.

    Raises:
        CheckpointError: if a file is missing, damaged, of a newer format, or of a method or field that is not known.
    """
    text, places = read(folder)
    described = _described(text, str(folder / DESCRIPTION))
    contents = {place: place.read_bytes() for place in places}
    chosen = next((place for place in places if digest(contents[place]) == described["digest"]), places[0])
    path = str(chosen)
    tensors = from_bytes(contents[chosen], path)
    if digest(contents[chosen]) != described["digest"]:
        raise CheckpointError(
            f"{path}: SHA-256 {digest(contents[chosen])[:12]}... is not the {described['digest'][:12]}... that "
            f"{DESCRIPTION} names; the two files belong to different saves. Copy both files of one save."
        )
    if seal(described) != described["seal"]:
        raise CheckpointError(
            f"{folder / DESCRIPTION}: its content does not fit its own seal; the file is damaged or was edited "
            "by hand. "
            "Copy or save it again (to change an adapter's weight set adaptation.scale and save)."
        )
    try:
        method = Method.from_dict(described["method"])
    except MethodError as error:
        raise CheckpointError(f"{folder / DESCRIPTION}: {error}") from error
    return Saved(
        path,
        method,
        described["seed"],
        float(described["scale"]),
        _DTYPES[described["dtype"]],
        described["ranks"],
        described["targets"],
        tensors,
    )


def fill(saved: Saved, installed: Installed, adapters: dict[str, Adapter]) -> None:
    """Copy a checkpoint's tensors into adapters that are not on a model yet.

    Raises:
        CheckpointError: if a tensor is missing, unexpected, or of another shape; all such keys are named at once. Also
            if
            an adapter cannot rebuild from this base what it was trained with.
    """
    record = Record(installed, adapters)
    expected = {key: tuple(value.shape) for key, value in _tensors(record).items() if not key.startswith("schedule:")}
    found = {key: tuple(value.shape) for key, value in saved.tensors.items() if not key.startswith("schedule:")}
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    shaped = [k for k in expected.keys() & found.keys() if expected[k] != found[k]]
    if missing or extra or shaped:
        problems = [f"missing: {listed(missing)}"] if missing else []
        problems += [f"unexpected: {listed(extra)}"] if extra else []
        problems += [f"{key}: expected {list(expected[key])}, found {list(found[key])}" for key in sorted(shaped)[:10]]
        raise CheckpointError(f"{saved.path}: tensors do not fit {installed.method}: {'; '.join(problems)}.")
    for name, adapter in adapters.items():
        _load(adapter, saved.part(name), f"{saved.path}: {name}")
    if installed.shared is not None:
        _load(installed.shared, saved.part("shared"), f"{saved.path}: shared")
    for adapter in adapters.values():
        _finish(adapter, saved.path)
    installed.schedule = dict(saved.part("schedule"))
    installed.scale, installed.ranks = saved.scale, saved.ranks


def _load(module: torch.nn.Module, tensors: dict[str, Tensor], where: str) -> None:
    for key, own in module.state_dict().items():
        if own.is_floating_point() != tensors[key].is_floating_point():
            raise CheckpointError(f"{where}:{key} has dtype {tensors[key].dtype}, expected {own.dtype}.")
    module.load_state_dict(tensors, strict=True)


def _finish(adapter: Adapter, path: str) -> None:
    try:
        adapter.restored()
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _tensors(record: Record) -> dict[str, Tensor]:
    found = {f"{name}:{k}": v for name, adapter in record.adapters.items() for k, v in adapter.state_dict().items()}
    if record.installed.shared is not None:
        found |= {f"shared:{key}": value for key, value in record.installed.shared.state_dict().items()}
    return found | {f"schedule:{key}": value for key, value in record.installed.schedule.items()}


def _adapter_dtype(first: Adapter, installed: Installed) -> str:
    floating = [v for module in (first, installed.shared) if module is not None for v in module.state_dict().values()]
    return next(str(value.dtype).removeprefix("torch.") for value in floating if value.is_floating_point())


def _described(text: bytes, path: str) -> dict[str, Any]:
    described = unique_json(text, path)
    if isinstance(described.get("format"), int) and described["format"] > FORMAT:
        raise CheckpointError(
            f"{path}: format {described['format']}, written by rankwise {described.get('rankwise')}; this rankwise "
            f"reads up to format {FORMAT}. Upgrade rankwise."
        )
    _closed(described, _SCHEMA, path)
    if described["dtype"] not in _DTYPES:
        raise CheckpointError(f"{path}: dtype {described['dtype']!r} is not one of {listed(_DTYPES)}.")
    if not all(type(r) is int and r >= (name in described["targets"]) for name, r in described["ranks"].items()):
        raise CheckpointError(
            f"{path}: ranks must be positive integers, or 0 for a weight without an adapter, found "
            f"{described['ranks']}."
        )
    if not described["targets"] or not math.isfinite(described["scale"]):
        raise CheckpointError(f"{path}: no targets, or a scale that is not finite.")
    for name, target in described["targets"].items():
        if not isinstance(target, dict):
            raise CheckpointError(f"{path}: target {name!r} must be an object, found {type(target).__name__}.")
        _closed(target, _TARGET, f"{path}: target {name!r}")
        if len(target["sample"]) != SAMPLES:
            raise CheckpointError(f"{path}: target {name!r} has {len(target['sample'])} samples, expected {SAMPLES}.")
        numbers = [*target["shape"], *target["sample"]]
        if not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in numbers):
            raise CheckpointError(f"{path}: target {name!r} has entries that are not finite numbers.")
    return described


def _closed(found: dict, schema: dict, where: str) -> None:
    for key in schema:
        if key not in found:
            raise CheckpointError(f"{where}: key {key!r} is missing; expected {listed(schema)}.")
    for key, value in found.items():
        if key not in schema:
            raise CheckpointError(f"{where}: unknown key {key!r}. {nearest(key, schema)}")
        if not isinstance(value, schema[key]) or (isinstance(value, bool) and schema[key] is not bool):
            raise CheckpointError(f"{where}: {key!r} has the wrong type {type(value).__name__}.")

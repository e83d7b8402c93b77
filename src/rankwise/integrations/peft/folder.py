# SPDX-License-Identifier: Apache-2.0
"""PEFT's folder: adapter_config.json and adapter_model.safetensors.

Both are written under temporary names, synced and renamed, the tensors first. A folder that holds pickled tensors
(adapter_model.bin) is refused: reading one would run code from it.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from rankwise.core.tensor_file import unique_json
from rankwise.errors import CheckpointError

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"
PICKLED = "adapter_model.bin"
PREFIX = "base_model.model."  # what PEFT's wrappers put before the name of a module


def write(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write both files.

    Raises:
        CheckpointError: if the folder cannot be written, or its pickled tensors would be read instead of these.
    """
    if (folder / PICKLED).exists():
        raise CheckpointError(f"{str(folder)!r} holds another adapter as {PICKLED}; choose another folder.")
    keyed = {PREFIX + key: value.cpu().contiguous().clone() for key, value in tensors.items()}
    contents = {
        TENSORS: safetensors.torch.save(keyed, metadata={"format": "pt"}),
        CONFIG: json.dumps(dict(config), indent=2, sort_keys=True, allow_nan=False).encode(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            _write(folder / (name + ".draft"), content)
        for name in contents:
            (folder / (name + ".draft")).replace(folder / name)
    except OSError as error:
        raise CheckpointError(f"cannot write an adapter to {str(folder)!r}: {error.strerror or error}.") from error


def read(folder: Path, beside: tuple[str, ...] = ()) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The settings, and the tensors without the prefix of their keys.

    Args:
        folder: what PEFT's `save_pretrained` wrote.
        beside: keys of what belongs to no module, which have no such prefix.

    Raises:
        CheckpointError: if a file is missing, damaged or pickled.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise CheckpointError(f"{str(folder)!r} holds no {CONFIG}; pass the folder that PEFT's save_pretrained wrote.")
    place = folder / TENSORS
    if not place.is_file():
        pickled = (folder / PICKLED).exists()
        raise CheckpointError(
            f"{str(folder)!r} holds no {TENSORS}"
            + (
                f", only {PICKLED}, a pickle that would run code when read; save it again with safe_serialization=True."
                if pickled
                else "; copy the whole folder."
            )
        )
    config = unique_json(path.read_bytes(), str(path))
    try:
        tensors = safetensors.torch.load(place.read_bytes())
    except SafetensorError as error:
        raise CheckpointError(f"{place}: not a readable tensor file: {error}. Copy or save it again.") from error
    broken = [key for key, value in tensors.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if broken:
        raise CheckpointError(
            f"{place}: tensor {broken[0]!r} holds NaN or infinite values; the run that saved it diverged."
        )
    strange = [key for key in tensors if not key.startswith(PREFIX) and key not in beside]
    if strange:
        raise CheckpointError(f"{place}: key {strange[0]!r} does not begin with {PREFIX!r}; PEFT did not write this.")
    return config, {key.removeprefix(PREFIX): value for key, value in tensors.items()}


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())

# SPDX-License-Identifier: Apache-2.0
"""Read and write the tensor file, with a second look at its header.

safetensors guards memory and offsets. This adds what it lets through and an adapter must not hold: a header above 1 MB,
a name that occurs twice, names that are empty or hold control characters, and values that are not finite.
"""

import json
from collections.abc import Mapping

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from rankwise.errors import CheckpointError, listed

HEADER_LIMIT = 1_000_000
_ENTRY = {"dtype", "shape", "data_offsets"}


def to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """The content of a tensor file."""
    return safetensors.torch.save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})


def from_bytes(content: bytes, path: str) -> dict[str, Tensor]:
    """The tensors of a tensor file, in memory of their own.

    Raises:
        CheckpointError: if the content is not a well-formed tensor file or holds values that are not finite.
    """
    _check_header(content, path)
    try:
        tensors = safetensors.torch.load(content)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a readable tensor file: {error}. Copy or save it again.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: the header does not describe tensors ({error}). Copy or save it again."
        ) from error
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise CheckpointError(
                f"{path}: tensor {name!r} holds NaN or infinite values; the run that saved it diverged."
            )
    return tensors


def unique_json(text: str | bytes, path: str) -> dict:
    """Parse a JSON object in which no key occurs twice.

    Raises:
        CheckpointError: if it is not one.
    """

    def once(pairs: list[tuple[str, object]]) -> dict:
        found = dict(pairs)
        if len(found) != len(pairs):
            twice = next(key for key, _ in pairs if [name for name, _ in pairs].count(key) > 1)
            raise CheckpointError(f"{path}: key {twice!r} occurs twice; the file is damaged or was edited by hand.")
        return found

    try:
        parsed = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: not valid JSON ({error}); the file is damaged. Copy or save it again."
        ) from error
    if not isinstance(parsed, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(parsed).__name__}.")
    return parsed


def _check_header(content: bytes, path: str) -> None:
    if len(content) < 8:
        raise CheckpointError(f"{path}: {len(content)} bytes are too few for a tensor file; it was cut off.")
    length = int.from_bytes(content[:8], "little")
    if length > HEADER_LIMIT:
        raise CheckpointError(f"{path}: the header claims {length} bytes; at most {HEADER_LIMIT} are allowed.")
    if length > len(content) - 8:
        raise CheckpointError(
            f"{path}: the header claims {length} bytes, {len(content) - 8} are there; it was cut off."
        )
    header = content[8 : 8 + length]
    if not header.startswith(b"{"):
        raise CheckpointError(f"{path}: the header does not begin with '{{'; this is not a tensor file.")
    for name, entry in unique_json(header, path).items():
        if not name or not name.isprintable():
            raise CheckpointError(f"{path}: tensor name {name!r} is empty or holds control characters.")
        if not isinstance(entry, dict) or entry.keys() != _ENTRY:
            raise CheckpointError(f"{path}: the entry of tensor {name!r} must have exactly the keys {listed(_ENTRY)}.")

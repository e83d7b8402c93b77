# SPDX-License-Identifier: Apache-2.0
"""A base model that is pre-trained once and then read from a file, so that every run starts from the very same bits.

The file's name is the task's and a digest of all that the pre-training depends on. A draft is written beside it and
linked into place if nobody else was faster; whoever trained reads what is there afterwards. Does not wait for another
process that is training the same base: let one process prepare a task before others do.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from rankwise.bench.task import BenchError
from rankwise.core.tensor_file import from_bytes, to_bytes

M = TypeVar("M", bound=nn.Module)


def pretrained(
    cache: Path,
    task: str,
    settings: Mapping[str, Any],
    build: Callable[[], M],
    train: Callable[[M], None],
) -> M:
    """The base of a task, read from the cache, which it is put into first if it is not there.

    Args:
        cache: the folder of pre-trained bases, made if it does not exist.
        task: the task's name.
        settings: all that the result depends on, as plain data.
        build: makes the untrained model.
        train: trains it in place.

    Returns:
        The base in eval mode, on the CPU.

    Raises:
        BenchError: if the file holds another model.
        CheckpointError: if the file is damaged.
    """
    path = cache / f"{task}-{_digest(settings)}.safetensors"
    model = build()
    if not path.is_file():
        train(model)
        _keep(path, to_bytes(model.state_dict()))
    tensors, own = from_bytes(path.read_bytes(), str(path)), model.cpu().state_dict()
    if {name: value.shape for name, value in tensors.items()} != {name: value.shape for name, value in own.items()}:
        raise BenchError(f"{path}: holds another model than the task {task!r} has; delete it to pre-train again.")
    model.load_state_dict(tensors)
    return model.eval()


def fit(model: nn.Module, losses: Iterable[Tensor], steps: int, rate: float) -> None:
    """Train all weights with AdamW, a tenth of the steps as warm-up and then down a cosine to zero.

    Args:
        model: trained in place.
        losses: one for each step, each computed when it is asked for.
        steps: how many there are.
        rate: the highest learning rate.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    model.train()
    for loss in losses:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def fingerprint(*tensors: Tensor) -> str:
    """A digest of tensors' bytes, for the settings of a pre-training on them."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _digest(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _keep(path: Path, content: bytes) -> None:
    """Put a whole file into place, or leave the one that is there by now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.draft")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)

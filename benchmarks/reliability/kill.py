"""Row 1: SIGKILL at a random moment of a save. The folder must hold one whole generation, never a mix.

A forked child saves generation after generation, each with its number in every tensor and in the JSON (as the scale);
the parent kills it after a random delay and reads the folder.
"""

import os
import random
import signal
import stat
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from rankwise import LoRA, adapt
from rankwise.core.checkpoint import read_checkpoint


@dataclass(frozen=True)
class Kills:
    """What `kills` saw."""

    kills: int
    mixed: int
    strays: int
    wrong_mode: int


def kills(folder: Path, count: int, seed: int = 0) -> Kills:
    """Kill `count` savers and read what they left."""
    random.seed(seed)
    torch.set_num_threads(1)
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    adaptation = adapt(model, LoRA(rank=8))
    _generation(adaptation, 0)
    adaptation.save(folder)
    mask = os.umask(0)
    os.umask(mask)
    mixed = wrong_mode = 0
    for number in range(count):
        child = os.fork()
        if child == 0:
            _save_for_ever(adaptation, folder, 1 + number * 1000)
        time.sleep(random.uniform(0.001, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        mixed += not _whole(folder)
        modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
        wrong_mode += modes != {0o666 & ~mask}
    _generation(adaptation, -1)
    adaptation.save(folder)
    strays = len({path.name for path in folder.iterdir()} - {"adapter.json", "adapter.safetensors"})
    return Kills(count, mixed, strays, wrong_mode)


def _generation(adaptation, number: int) -> None:
    with torch.no_grad():
        for parameter in adaptation.parameters():
            parameter.fill_(number)
    adaptation.scale = float(number)


def _save_for_ever(adaptation, folder: Path, number: int) -> None:
    try:
        while True:
            _generation(adaptation, number)
            adaptation.save(folder)
            number += 1
    finally:
        os._exit(1)


def _whole(folder: Path) -> bool:
    saved = read_checkpoint(folder)
    values = {float(value) for tensor in saved.tensors.values() for value in (tensor.min(), tensor.max())}
    return values == {saved.scale}

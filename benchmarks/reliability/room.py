"""Rows 2 and 3: the order of system calls in a save, and a save that runs out of room.

The limit on the size of files (RLIMIT_FSIZE) stands for a full disk: a write beyond it fails with an OSError.
"""

import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from rankwise import CheckpointError, LoRA, adapt
from rankwise.core.checkpoint import read_checkpoint


def refused_for_room(folder: Path, limits: int) -> tuple[int, int]:
    """Save under `limits` size limits; return how many saves failed, and after how many the old one was whole."""
    adaptation = _saver()
    adaptation.save(folder)
    before = (folder / "adapter.safetensors").read_bytes(), (folder / "adapter.json").read_bytes()
    size = len(before[0])
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    failed = whole = 0
    for index in range(limits):
        with torch.no_grad():
            next(adaptation.parameters()).fill_(index)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size * index // limits, hard))
        try:
            adaptation.save(folder)
        except CheckpointError as error:
            failed += str(folder) in str(error)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        after = (folder / "adapter.safetensors").read_bytes(), (folder / "adapter.json").read_bytes()
        read_checkpoint(folder)
        whole += after == before and len(list(folder.iterdir())) == 2
    return failed, whole


def _saver():
    return adapt(nn.Sequential(nn.Linear(64, 64)), LoRA(rank=8))


_SAVE = """
from torch import nn
from rankwise import LoRA, adapt
import sys
adapt(nn.Sequential(nn.Linear(8, 8)), LoRA(rank=2)).save(sys.argv[1])
"""


def commit_calls(folder: Path) -> list[str] | None:
    """The names of the calls that commit a save, in order; None where strace is missing."""
    strace = shutil.which("strace")
    if strace is None:
        return None
    command = [strace, "-f", "-e", "trace=fsync,rename,renameat,renameat2", sys.executable, "-c", _SAVE, str(folder)]
    log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    calls = re.findall(r"(fsync|rename)\w*\(", log)
    return calls[-7:]

# SPDX-License-Identifier: Apache-2.0
"""Time and memory of a training step, as ratios to another entrant's in the same process.

The two models take turns, so that what slows the machine slows both; the ratio is the median over the turns. Only these
two models are alive, and both are warmed. Memory is the peak of living tensors in a step, the model's own included.
"""

import gc
import statistics
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WARM, ROUNDS, SECONDS = 2, 5, 1.0  # steps to warm up, the least number of turns, and for how long at least


@dataclass(frozen=True)
class Cost:
    """A step's cost over the other's: seconds and peak bytes."""

    time: float
    memory: float


@dataclass(frozen=True)
class Step:
    """What is measured.

    Attributes:
        run: takes the step.
        kept: the tensors that are there before and after it: the model's and the optimizer's; asked after the warm-up.
    """

    run: Callable[[], object]
    kept: Callable[[], Iterable[Tensor]]


def compared(step: Step, other: Step) -> Cost:
    """The cost of one step over the cost of another."""
    gc.collect()
    for _ in range(WARM):
        other.run()
        step.run()
    ratios, start = list[float](), time.perf_counter()
    for turn in count():
        if turn >= ROUNDS and time.perf_counter() - start > SECONDS:
            break
        theirs = _timed(other)
        ratios.append(_timed(step) / theirs)
    return Cost(statistics.median(ratios), peak_bytes(step) / peak_bytes(other))


def peak_bytes(step: Step) -> int:
    """Peak bytes of living tensors during a step, those included that are kept."""
    with LiveBytes(step.kept()) as live:
        step.run()
    return live.peak


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of storages that are alive, and their peak.

    Args:
        kept: tensors that are alive from the start.

    Attributes:
        now: bytes alive.
        peak: the most there ever were.
    """

    def __init__(self, kept: Iterable[Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.seen: weakref.WeakSet = weakref.WeakSet()
        for tensor in kept:
            self._count(tensor)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run an operation and count what it made."""
        output = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(output):
            if isinstance(leaf, Tensor):
                self._count(leaf)
        return output

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self.seen:
            return
        self.seen.add(storage)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._freed, storage.nbytes())

    def _freed(self, size: int) -> None:
        self.now -= size


def _timed(step: Step) -> float:
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    start = time.perf_counter()
    step.run()
    wait()
    return time.perf_counter() - start

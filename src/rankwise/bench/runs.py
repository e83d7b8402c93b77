# SPDX-License-Identifier: Apache-2.0
"""One run: a base, one entrant, one learning rate and one seed, trained and judged.

AdamW without weight decay; the learning rate rises over the first tenth of the steps and follows half a cosine to zero.
A head that trains beside the adapter always has the same learning rate. A run whose loss or score is not finite counts
as diverged.
"""

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rankwise.bench.rows import YARDSTICKS
from rankwise.bench.task import Adapted, Batch, Bench, Scores, Task
from rankwise.core.adapt import adapt
from rankwise.core.method import Method

HEAD_RATE = 2e-3
FULL_RATE = 0.1  # full fine-tuning takes the grid's learning rates times this
CALIBRATION = 4  # batches
NOT_ADAPTED, FULL = YARDSTICKS


@dataclass(frozen=True)
class Entrant:
    """What takes part.

    Attributes:
        name: a registered method's name, or one of the yardsticks NOT_ADAPTED and FULL.
        method: the method with its settings, None for a yardstick.
        parameters: how many it trains, without the task's head; None to count a yardstick's.
    """

    name: str
    method: Method | None = None
    parameters: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What one run gave.

    Attributes:
        parameters: how many were trained, without the task's head.
        bytes: size of the saved adapter, None for a yardstick.
        seconds: of training and judging.
        scores: None if the run diverged.
    """

    parameters: int
    bytes: int | None
    seconds: float
    scores: Scores | None

    def to_dict(self) -> dict[str, Any]:
        """The outcome as plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Outcome":
        """Read what `to_dict` gave."""
        scores = None if data["scores"] is None else Scores(**data["scores"])
        return cls(data["parameters"], data["bytes"], data["seconds"], scores)


class Trainer:
    """An entrant on a fresh base, with its optimizer; each `step` is one batch.

    Attributes:
        adapted: the model and the adapter's handle.
        head: the task's tensors that train beside the adapter.
        own: all other tensors that train.
    """

    def __init__(self, task: Task, bench: Bench, entrant: Entrant, rate: float, seed: int) -> None:
        model, self.bench, adaptation = bench.base(seed), bench, None
        if entrant.method is None:
            model.requires_grad_(entrant.name == FULL)
        else:
            data = list(bench.calibration(CALIBRATION, seed)) if entrant.method.calibrated else None
            adaptation = adapt(model, entrant.method, bench.targets, seed=seed, calibration=data)
        self.adapted, self.head = Adapted(model, adaptation), bench.head(model)
        for parameter in self.head:
            parameter.requires_grad_(True)
        heads = {id(parameter) for parameter in self.head}
        self.own: list[nn.Parameter] = [p for p in model.parameters() if p.requires_grad and id(p) not in heads]
        rate *= FULL_RATE if entrant.name == FULL else 1
        groups = [{"params": self.own, "lr": rate}, {"params": self.head, "lr": HEAD_RATE}]
        groups = [group for group in groups if group["params"]]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.0) if groups else None
        if self.optimizer is not None:
            self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, course(task.steps))
            if adaptation is not None:
                adaptation.attach(self.optimizer)
        model.train()

    def step(self, batch: Batch) -> bool:
        """Train on one batch; whether its loss was finite, without which nothing is changed."""
        assert self.optimizer is not None
        loss = self.bench.loss(self.adapted, batch)
        if not torch.isfinite(loss):
            return False
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        return True

    def scores(self) -> Scores | None:
        """The task's judgment, None if it is not finite."""
        self.adapted.model.eval()
        with torch.no_grad():
            found = self.bench.score(self.adapted)
        return found if math.isfinite(found.validation) and math.isfinite(found.quality) else None


def run(task: Task, bench: Bench, entrant: Entrant, rate: float, seed: int) -> Outcome:
    """Train an entrant at one learning rate from one seed, and judge it."""
    start = time.perf_counter()
    trainer = Trainer(task, bench, entrant, rate, seed)
    steps: Iterator[Batch] = bench.batches(task.steps if trainer.optimizer is not None else 0, seed)
    finite = all(trainer.step(batch) for batch in steps)
    scores = trainer.scores() if finite else None
    parameters = sum(p.numel() for p in trainer.own) if entrant.parameters is None else entrant.parameters
    return Outcome(parameters, _saved_bytes(trainer.adapted), time.perf_counter() - start, scores)


def course(steps: int) -> Callable[[int], float]:
    """The learning rate as a share of its peak: up over a tenth of the steps, then half a cosine to zero."""
    rise = max(1, steps // 10)

    def share(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 + 0.5 * math.cos(math.pi * (step - rise + 1) / (steps - rise + 1))

    return share


def _saved_bytes(adapted: Adapted) -> int | None:
    if adapted.adaptation is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        adapted.adaptation.save(folder)
        return sum(path.stat().st_size for path in Path(folder).iterdir())

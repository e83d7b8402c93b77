# SPDX-License-Identifier: Apache-2.0
"""A task that trains in milliseconds: a network of two linear layers learns a shifted linear map."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise.bench.task import Adapted, Batch, Bench, BenchError, Scores, Task

SIDE = 8


class SmallBench(Bench):
    """The base is the identity twice; the goal adds a matrix of rank one."""

    targets = ("0", "1")
    values = ("task", "quality")

    def __init__(self, with_head: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        self.with_head = with_head
        self.goal = torch.eye(SIDE) + torch.outer(*(torch.randn(SIDE, generator=generator) / 2 for _ in range(2)))
        self.tests = [torch.randn(64, SIDE, generator=generator) for _ in range(2)]

    def base(self, seed: int) -> nn.Module:
        model = nn.Sequential(*(nn.Linear(SIDE, SIDE, bias=False) for _ in range(2 + self.with_head)))
        for layer in model:
            nn.init.eye_(layer.weight)
        return model

    def head(self, model: nn.Module) -> list[nn.Parameter]:
        return [model[2].weight] if self.with_head else []

    def batches(self, count: int, seed: int) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(1000 + seed)
        return ({"input": torch.randn(16, SIDE, generator=generator)} for _ in range(count))

    def run(self, adapted: Adapted, batch: Batch) -> Tensor:
        x = batch["input"]
        with adapted.context(task=torch.zeros(len(x), dtype=torch.int64), quality=torch.full((len(x),), 0.5)):
            return adapted.model(x)

    def loss(self, adapted: Adapted, batch: Batch) -> Tensor:
        return F.mse_loss(self.run(adapted, batch), batch["input"] @ self.goal.T)

    def score(self, adapted: Adapted) -> Scores:
        errors = [float(F.mse_loss(self.run(adapted, {"input": x}), x @ self.goal.T)) for x in self.tests]
        away = float(F.mse_loss(self.run(adapted, {"input": self.tests[0]}), self.tests[0]))
        return Scores(errors[0], errors[1], away)


@dataclass(frozen=True)
class Small(Task):
    """A shifted identity.

    More words that no page shows.
    """

    name: ClassVar[str] = "small-map"
    quality: ClassVar[str] = "mean squared error"
    retention: ClassVar[str] = "mean squared distance from the identity"
    higher_is_better: ClassVar[bool] = False

    steps: int = 12
    rates: tuple[float, ...] = (1e-3, 1e-2)
    seeds: int = 2
    budgets: Mapping[str, int] = field(default_factory=lambda: {"small": 1, "medium": 3})
    with_head: bool = False
    needs_data: bool = False

    def prepare(self, data: Path | None, cache: Path) -> SmallBench:
        if self.needs_data and data is None:
            raise BenchError("this task needs a folder; pass --data.")
        return SmallBench(self.with_head)

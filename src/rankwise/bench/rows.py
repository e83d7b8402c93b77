# SPDX-License-Identifier: Apache-2.0
"""One line of the leaderboard as plain data: a method, on a task, in a parameter budget, with all that was measured.

A row either has a number or the reason why there is none, never both and never neither. Two rows are yardsticks and not
competitors: the base model that is not adapted at all, and full fine-tuning. What it does not do: measure or average.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from rankwise.bench.task import BenchError
from rankwise.errors import listed

YARDSTICKS = ("not adapted", "full fine-tuning")


@dataclass(frozen=True)
class Row:
    """What a method came to.

    Attributes:
        task: the task's name.
        budget: the parameter budget's name.
        budget_parameters: how many parameters the budget has on this task.
        method: the method's display name, or one of `YARDSTICKS`.
        settings: the method with its fields.
        parameters: trainable parameters of the adapter.
        bytes: size of the saved adapter.
        rate: the learning rate that the validation split chose.
        rate_at_edge: whether that is the smallest or the largest of the grid, so that a better one may lie outside.
        quality: the task's quality on the test split, mean over seeds; None if there is no number.
        quality_std: its standard deviation over seeds, None with one seed.
        retention: how well the model still does what the base could do before.
        retention_std: its standard deviation over seeds.
        seeds: how many seeds the means are of.
        step_time: seconds a training step takes, as a multiple of LoRA's in the same process.
        memory: peak memory of training, as a multiple of LoRA's.
        reason: why there is no number, in words; empty if there is one.

    Raises:
        BenchError: if a number is not finite, or if there is both a quality and a reason, or neither.
    """

    task: str
    budget: str
    budget_parameters: int
    method: str
    settings: str
    parameters: int
    bytes: int | None
    rate: float | None
    rate_at_edge: bool
    quality: float | None
    quality_std: float | None
    retention: float | None
    retention_std: float | None
    seeds: int
    step_time: float | None
    memory: float | None
    reason: str = ""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise BenchError(
                    f"{self._place()}: {name} is {value}, not a finite number. Where there is no number, give None, "
                    "and for the quality the reason."
                )
        if (self.quality is None) != bool(self.reason):
            raise BenchError(
                f"{self._place()}: quality is {self.quality} and the reason for having none is {self.reason!r}. Give "
                "either a quality or a reason."
            )

    @property
    def yardstick(self) -> bool:
        """Whether the row is no method but what methods are measured against."""
        return self.method in YARDSTICKS

    def to_dict(self) -> dict[str, Any]:
        """The row as plain data that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Row":
        """Read a row back from plain data.

        Raises:
            BenchError: if a field is missing or unknown.
        """
        names = {field.name for field in fields(cls)}
        if data.keys() != names:
            raise BenchError(
                f"A row of results lacks {listed(names - data.keys())} and has the unknown "
                f"{listed(data.keys() - names)}. Allowed: exactly the {len(names)} fields of a row. Make the table "
                "anew with this version."
            )
        return cls(**data)

    def _place(self) -> str:
        return f"{self.method} on {self.task}, budget {self.budget}"


@dataclass(frozen=True)
class Question:
    """What a task asks, in words for the page.

    Attributes:
        task: the task's name.
        quality: what quality is, with its unit.
        retention: what retention is.
        higher_is_better: whether more is better, for quality and retention alike.
        description: base model, data and adaptation in a few sentences.
    """

    task: str
    quality: str
    retention: str
    higher_is_better: bool
    description: str

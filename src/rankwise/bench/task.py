# SPDX-License-Identifier: Apache-2.0
"""A question that is put to every method: a base model, what it is adapted to, and how the result is judged.

A `Task` is its settings, plain data that a journal can hold; `prepare` makes a `Bench` of it, which has the base model
and the data in memory. The bench knows nothing of methods, and methods nothing of it: what passes between them is an
`Adapted` model. All numbers of a task depend on its settings and a seed alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from rankwise.core.adaptation import Adaptation
from rankwise.errors import RankwiseError

Batch = Mapping[str, Tensor]


class BenchError(RankwiseError, ValueError):
    """A comparison cannot be run: data are missing, or a journal holds another comparison's runs."""


@dataclass(frozen=True)
class Adapted:
    """A base model with one method's adapter on it, or without any.

    Attributes:
        model: the model that runs.
        adaptation: the adapter's handle, None for a model without one.
    """

    model: nn.Module
    adaptation: Adaptation | None = None

    def context(self, **values: Tensor) -> AbstractContextManager[Any]:
        """Open the context with those of the per-example values that the method reads; open it around every forward."""
        if self.adaptation is None or not self.adaptation.method.inputs:
            return nullcontext()
        wanted: dict[str, Any] = {name: values[name] for name in self.adaptation.method.inputs}
        return self.adaptation.context(**wanted)


@dataclass(frozen=True)
class Scores:
    """How good an adapted model is.

    Attributes:
        validation: the task's quality on the validation split, by which the learning rate is chosen.
        quality: the same on the test split, which nothing is chosen by.
        retention: how well the model still does what the base could do before, None if that was not measured.
    """

    validation: float
    quality: float
    retention: float | None = None


class Bench(ABC):
    """A task with its base model and data in memory.

    Attributes:
        targets: what `adapt` gets as targets.
        values: names of the per-example values that the bench opens the context with ("task", "quality").
        domains: how many task ids there are, for methods that are told.
    """

    targets: str | Sequence[str]
    values: tuple[str, ...] = ()
    domains: int = 1

    @abstractmethod
    def base(self, seed: int) -> nn.Module:
        """A fresh copy of the base with a new head, if the task has one, from the seed; nothing is frozen yet."""

    @abstractmethod
    def head(self, model: nn.Module) -> list[nn.Parameter]:
        """The tensors that train beside the adapter (a new output layer), empty if there are none."""

    @abstractmethod
    def batches(self, count: int, seed: int) -> Iterator[Batch]:
        """That many training batches in an order from the seed, on the device of the base."""

    def calibration(self, count: int, seed: int) -> Iterator[Batch]:
        """Batches for methods that start from data, as the model takes them: `model(**batch)`."""
        return self.batches(count, seed)

    @abstractmethod
    def run(self, adapted: Adapted, batch: Batch) -> Tensor:
        """The output of a batch, in the context of its per-example values."""

    @abstractmethod
    def loss(self, adapted: Adapted, batch: Batch) -> Tensor:
        """The training loss of a batch, a scalar."""

    @abstractmethod
    def score(self, adapted: Adapted) -> Scores:
        """Judge a model; called in eval mode without autograd."""


@dataclass(frozen=True)
class Task(ABC):
    """The settings of one task.

    Class attributes:
        name: the task's name on the command line and in results.
        quality: what is measured, in words, with its unit.
        retention: what retention measures, in words.
        higher_is_better: whether more is better, for quality and retention alike.

    Attributes:
        steps: optimizer steps of a run.
        rates: the learning rates that every method chooses from.
        seeds: how many seeds a method's result is the mean of.
        budgets: parameter budgets by name, each as the rank of the LoRA that has as many parameters.
    """

    name: ClassVar[str]
    quality: ClassVar[str]
    retention: ClassVar[str]
    higher_is_better: ClassVar[bool]

    steps: int = 100
    rates: tuple[float, ...] = (5e-4, 2e-3, 8e-3, 3e-2)
    seeds: int = 3
    budgets: Mapping[str, int] = field(default_factory=lambda: {"small": 4, "medium": 16})

    @abstractmethod
    def prepare(self, data: Path | None, cache: Path) -> Bench:
        """Load the data, and load or pre-train the base model.

        Args:
            data: a folder with data sets that are not part of any package; None if there is none.
            cache: a folder where a base that was pre-trained here is kept, so that every process and every later run
                of the same comparison has the very same one.

        Raises:
            BenchError: if the task needs data that are not there; says which and where they come from.
        """

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain data."""
        return asdict(self)

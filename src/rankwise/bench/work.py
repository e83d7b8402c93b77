# SPDX-License-Identifier: Apache-2.0
"""One piece of a comparison, in whatever process it runs: a fit, a run or a cost, from plain data to plain data.

A process prepares each task once and keeps it. What a method refuses is a finding, in the method's own words.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from torch import Tensor

from rankwise.bench.cost import Step, compared
from rankwise.bench.journal import Key
from rankwise.bench.ladders import budget_of, fit
from rankwise.bench.runs import Entrant, Trainer, run
from rankwise.bench.task import Bench, Task
from rankwise.core.method import Method
from rankwise.errors import RankwiseError
from rankwise.recipes.recipe import with_total_steps


@dataclass(frozen=True)
class Piece:
    """What is to be found out.

    Attributes:
        key: its key in the journal.
        task: the task.
        entrant: the settings of a run; None for a fit.
        reference: for a cost, what it is relative to.
    """

    key: Key
    task: Task
    entrant: Entrant | None = None
    reference: Entrant | None = None


class Workshop:
    """Finds things out, keeping the prepared tasks.

    Args:
        data: the folder of data sets.
        cache: the folder of what was prepared once.
    """

    def __init__(self, data: Path | None, cache: Path) -> None:
        self.data, self.cache, self.benches = data, cache, dict[str, Bench]()

    def bench(self, task: Task) -> Bench:
        """The prepared task."""
        if task.name not in self.benches:
            self.benches[task.name] = task.prepare(self.data, self.cache)
        return self.benches[task.name]

    def find_out(self, piece: Piece) -> dict[str, Any]:
        """What the piece asks for, as plain data; {"refused": why} if the method cannot."""
        bench = self.bench(piece.task)
        try:
            return self._found(piece, bench)
        except RankwiseError as error:
            return {"refused": str(error)}

    def _found(self, piece: Piece, bench: Bench) -> dict[str, Any]:
        _, budget, name, kind, *rest = piece.key
        if kind == "fit":
            parameters = budget_of(bench, piece.task.budgets[str(budget)])
            fitted = fit(str(name), bench, piece.task.steps, parameters)
            return {"method": fitted.method.to_dict(), "parameters": fitted.parameters, "budget": parameters}
        assert piece.entrant is not None
        if kind == "run":
            rate, seed = rest
            return run(piece.task, bench, piece.entrant, float(rate), int(seed)).to_dict()
        assert piece.reference is not None
        return asdict(compared(*(_step(piece.task, bench, one) for one in (piece.entrant, piece.reference))))


def entrant_of(name: str, fitted: Mapping[str, Any] | None, steps: int) -> Entrant:
    """An entrant from what its fit found; a yardstick if there was none."""
    if fitted is None:
        return Entrant(name)
    return Entrant(name, with_total_steps(Method.from_dict(fitted["method"]), steps), fitted["parameters"])


def _step(task: Task, bench: Bench, entrant: Entrant) -> Step:
    """Training steps of an entrant, one for each call, over a few batches again and again."""
    trainer = Trainer(task, bench, entrant, task.rates[0], seed=0)
    data = list(bench.batches(4, seed=0))
    endless: Iterator = chain.from_iterable(iter(lambda: data, None))

    def kept() -> Iterator[Tensor]:
        yield from trainer.adapted.model.parameters()
        yield from trainer.adapted.model.buffers()
        for state in trainer.optimizer.state.values() if trainer.optimizer is not None else ():
            yield from (value for value in state.values() if isinstance(value, Tensor))

    return Step(lambda: trainer.step(next(endless)), kept)

# SPDX-License-Identifier: Apache-2.0
"""What is still to be found out about one entrant on one task at one budget: a pure function of the journal.

    fit          the settings of the method that fill the budget, or why there are none
    run          each learning rate of the grid with seed 0; then the rate that is best on the validation split with the
                 other seeds
    cost         time and memory of a step beside LoRA's, when all runs are done

So a comparison that was killed goes on by asking again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rankwise.bench.journal import Key
from rankwise.bench.rows import YARDSTICKS
from rankwise.bench.runs import NOT_ADAPTED, Outcome
from rankwise.bench.task import Task

Found = Mapping[Key, Mapping[str, Any]]
REFERENCE = "lora"  # what costs are relative to


@dataclass(frozen=True)
class Line:
    """One entrant on one task at one budget.

    Attributes:
        task: the task.
        budget: the budget's name.
        name: the entrant's.
    """

    task: Task
    budget: str
    name: str

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates to choose from."""
        return (0.0,) if self.name == NOT_ADAPTED else self.task.rates

    @property
    def fit(self) -> Key:
        """The key of its settings."""
        return (self.task.name, self.budget, self.name, "fit")

    @property
    def cost(self) -> Key:
        """The key of its cost."""
        return (self.task.name, self.budget, self.name, "cost")

    def run(self, rate: float, seed: int) -> Key:
        """The key of a run."""
        return (self.task.name, self.budget, self.name, "run", rate, seed)

    def best_rate(self, found: Found) -> float | None:
        """The learning rate that is best on the validation split; None if every run diverged or was refused.

        Raises:
            KeyError: if a run of the grid is not there yet.
        """
        sign = 1 if self.task.higher_is_better else -1
        runs = [(outcome(found[self.run(rate, 0)]), rate) for rate in self.rates]
        judged = [(sign * one.scores.validation, rate) for one, rate in runs if one and one.scores]
        return max(judged, key=lambda pair: pair[0])[1] if judged else None

    def missing_runs(self, found: Found) -> list[Key]:
        """What to do next for its quality; empty if nothing is left."""
        if self.name not in YARDSTICKS and self.fit not in found:
            return [self.fit]
        if "refused" in found.get(self.fit, {}):
            return []
        grid = [key for rate in self.rates if (key := self.run(rate, 0)) not in found]
        if grid or (best := self.best_rate(found)) is None:
            return grid
        return [key for seed in range(1, self.task.seeds) if (key := self.run(best, seed)) not in found]

    def missing_cost(self, found: Found) -> list[Key]:
        """Its cost, if it can be measured and was not yet."""
        settled = self.fit in found and "refused" not in found[self.fit]
        return [self.cost] if settled and self.cost not in found else []


def outcome(value: Mapping[str, Any]) -> Outcome | None:
    """A run's outcome, None if it was refused."""
    return None if "refused" in value else Outcome.from_dict(dict(value))


def lines(tasks: list[Task], names: list[str]) -> list[Line]:
    """All lines of a comparison; the yardsticks, which know no budget, stand in each task's first."""
    found = []
    for task in tasks:
        for position, budget in enumerate(task.budgets):
            entrants = [*names, *YARDSTICKS] if position == 0 else names
            found += [Line(task, budget, name) for name in entrants]
    return found

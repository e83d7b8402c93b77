# SPDX-License-Identifier: Apache-2.0
"""From a journal to the rows of a leaderboard."""

import statistics
from collections.abc import Iterable

from rankwise.bench.plan import Found, Line, outcome
from rankwise.bench.rows import YARDSTICKS, Question, Row
from rankwise.bench.runs import FULL, FULL_RATE, Outcome
from rankwise.bench.task import Task
from rankwise.core.method import Method, method_class


def rows(every: list[Line], found: Found) -> list[Row]:
    """One row for each line, and the yardsticks again in every budget."""
    made = []
    for line in every:
        for budget in line.task.budgets if line.name in YARDSTICKS else [line.budget]:
            size = next(
                (v["budget"] for k, v in found.items() if k[:2] == (line.task.name, budget) and "budget" in v), 0
            )
            made.append(row(line, budget, size, found))
    return made


def row(line: Line, budget: str, size: int, found: Found) -> Row:
    """The row of a line, shown in a budget of so many parameters."""
    fitted, cost = found.get(line.fit, {}), found.get(line.cost, {})
    rate, outcomes, reason = _judged(line, found)
    scores = [one.scores for one in outcomes if one.scores is not None]
    kept = [score.retention for score in scores if score.retention is not None]
    first = outcomes[0] if outcomes else None
    edge = rate in (min(line.rates), max(line.rates)) and len(line.rates) > 1
    return Row(
        task=line.task.name,
        budget=budget,
        budget_parameters=size,
        method=line.name if line.name in YARDSTICKS else method_class(line.name).__name__,
        settings=repr(Method.from_dict(fitted["method"])) if "method" in fitted else line.name,
        parameters=first.parameters if first else fitted.get("parameters", 0),
        bytes=first.bytes if first else None,
        rate=rate * FULL_RATE if rate is not None and line.name == FULL else rate,
        rate_at_edge=edge,
        quality=_mean(score.quality for score in scores),
        quality_std=_spread([score.quality for score in scores]),
        retention=_mean(kept),
        retention_std=_spread(kept),
        seeds=len(scores),
        step_time=cost.get("time"),
        memory=cost.get("memory"),
        reason=reason,
    )


def question(task: Task) -> Question:
    """What a task asks, in words."""
    about = (type(task).__doc__ or "").strip().split("\n\n")[0]
    return Question(task.name, task.quality, task.retention, task.higher_is_better, " ".join(about.split()))


def _judged(line: Line, found: Found) -> tuple[float | None, list[Outcome], str]:
    """The chosen learning rate, the outcomes of its seeds, and why there are none."""
    if "refused" in found.get(line.fit, {}):
        return None, [], str(found[line.fit]["refused"])
    refused = [found[key]["refused"] for rate in line.rates if "refused" in found.get(key := line.run(rate, 0), {})]
    if refused:
        return None, [], str(refused[0])
    if line.missing_runs(found):
        return None, [], "not run yet"
    rate = line.best_rate(found)
    if rate is None:
        return None, [], "diverged at every learning rate"
    return rate, [one for seed in range(line.task.seeds) if (one := outcome(found[line.run(rate, seed)]))], ""


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return statistics.mean(known) if known else None


def _spread(values: list[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None

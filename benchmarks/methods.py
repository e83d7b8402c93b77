# SPDX-License-Identifier: Apache-2.0
"""All adapters at equal parameter budgets: `rankwise bench`, and its tables and page put into the documentation.

    python benchmarks/methods.py FOLDER [--size cpu] [--data DIR] [--workers 2]

Goes on with the comparison in FOLDER where it was stopped. Writes docs/leaderboard/ and the summary in
docs/choosing.md.
"""

import argparse
import os
import shutil
import statistics
from pathlib import Path

from report import replace_section, table

from rankwise.bench.comparison import Comparison, about, compare
from rankwise.bench.journal import Journal
from rankwise.bench.plan import lines
from rankwise.bench.results import rows
from rankwise.bench.rows import Row
from rankwise.bench.standing import standings
from rankwise.bench.task import Task

DOCS = Path(__file__).resolve().parent.parent / "docs"
HEADS = ["method", "parameters", "quality", "retention", "step time", "memory", "learning rate"]


def main() -> None:
    """Run what is missing, then write the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", default="cpu")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    comparison = Comparison(options.folder, options.size, data=options.data, workers=options.workers)
    for news in compare(comparison):
        print(news if isinstance(news, str) else f"{news.done} of at most {news.most}: {news.key}", flush=True)
    for name in ("leaderboard.html", "leaderboard.json"):
        shutil.copyfile(options.folder / name, DOCS / "leaderboard" / name)
    tasks, names = comparison.chosen_tasks(), comparison.chosen_methods()
    found = rows(lines(tasks, names), Journal(options.folder / "results.jsonl", comparison.settings()).found)
    replace_section(str(DOCS / "choosing.md"), "summary", _summary(found, tasks))
    for task in tasks:
        parts = [
            f"### {budget}: {_size(found, task, budget)}\n\n{_table(found, task, budget)}" for budget in task.budgets
        ]
        text = "\n\n".join([*parts, about(comparison)])
        replace_section(str(DOCS / "leaderboard" / "tables.md"), task.name, text)


def _summary(found: list[Row], tasks: list[Task]) -> str:
    """A line for each method: the share of the others that it beats, how often it is among the best, and its cost."""
    beaten: dict[str, list[float]] = {}
    among_best: dict[str, int] = {}
    for task in tasks:
        for budget in task.budgets:
            mine = [row for row in found if (row.task, row.budget) == (task.name, budget) and row.quality is not None]
            mine = [row for row in mine if not row.yardstick]
            sign = 1 if task.higher_is_better else -1
            places = standings(mine, task.higher_is_better)
            for row, place in zip(mine, places, strict=True):
                worse = sum(sign * (other.quality or 0) < sign * (row.quality or 0) for other in mine)
                beaten.setdefault(row.method, []).append(worse / (len(mine) - 1))
                among_best[row.method] = among_best.get(row.method, 0) + ("quality" in place.best | place.tied)
    lines = []
    for method in sorted(beaten, key=lambda name: -statistics.mean(beaten[name])):
        own = [row for row in found if row.method == method]
        cost = [_median([getattr(row, name) for row in own]) for name in ("step_time", "memory")]
        shares = beaten[method]
        best = f"{among_best[method]} of {len(shares)}"
        lines.append([method, f"{statistics.mean(shares):.0%}", best, *cost])
    return table(["method", "beats, mean share of the others", "among the best", "step time", "memory"], lines)


def _median(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.2f}" if known else "-"


def _size(found: list[Row], task: Task, budget: str) -> str:
    size = next(row.budget_parameters for row in found if (row.task, row.budget) == (task.name, budget))
    return f"at most {size:,} parameters"


def _table(found: list[Row], task: Task, budget: str) -> str:
    """The methods of a task and budget, the best first, then those without a number."""
    mine = [row for row in found if (row.task, row.budget) == (task.name, budget)]
    sign = -1 if task.higher_is_better else 1
    judged = sorted((row for row in mine if row.quality is not None), key=lambda row: sign * (row.quality or 0.0))
    cells = [_cells(row) for row in judged]
    others = [f"- {row.method}: {row.reason}" for row in mine if row.quality is None]
    return "\n".join([table(HEADS, cells), *(["", "Without a number:", "", *others] if others else [])])


def _cells(row: Row) -> list[str]:
    rate = "-" if not row.rate else f"{row.rate:g}{' (edge)' if row.rate_at_edge else ''}"
    return [
        row.method,
        f"{row.parameters:,}",
        _spread(row.quality, row.quality_std),
        _spread(row.retention, row.retention_std),
        "-" if row.step_time is None else f"{row.step_time:.2f}",
        "-" if row.memory is None else f"{row.memory:.2f}",
        rate,
    ]


def _spread(mean: float | None, deviation: float | None) -> str:
    if mean is None:
        return "-"
    return f"{mean:.4g}" if deviation is None else f"{mean:.4g} +- {deviation:.2g}"


if __name__ == "__main__":
    main()

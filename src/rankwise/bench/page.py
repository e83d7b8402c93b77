# SPDX-License-Identifier: Apache-2.0
"""The leaderboard as one HTML file that opens without a network: a plot and a table of every task and budget.

The table of all rows is written here, complete and readable without JavaScript. The scripts in the folder page/ make it
to choose from and to sort, and draw the plot; they read the same rows as JSON from the page, with what Python found out
about each (its standing, the Pareto fronts). All text is escaped: it is data from other people's method names.
"""

import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from rankwise.bench.columns import COLUMNS, cell, decimals
from rankwise.bench.rows import Question, Row
from rankwise.bench.standing import Standing, standings
from rankwise.bench.task import BenchError
from rankwise.errors import listed
from rankwise.recipes.folder import write_whole


def write_page(path: Path, rows: Sequence[Row], questions: Sequence[Question], about: str) -> None:
    """Write the leaderboard.

    Args:
        path: the HTML file; it is there whole or not at all.
        rows: what was measured, of any number of tasks and budgets.
        questions: what each task asks, in the page's order of tasks.
        about: machine, date, versions and command, in one line.

    Raises:
        BenchError: if a row's task has no question.
        OutputError: if the file cannot be written.
    """
    unknown = {row.task for row in rows} - {question.task for question in questions}
    if unknown:
        raise BenchError(
            f"There are rows of {listed(unknown)} and questions of {listed(question.task for question in questions)}. "
            "Give one question for each task that has rows."
        )
    ranks = _standings(rows, questions)
    page = Template(_part("template.html")).substitute(
        style=_part("page.css"),
        script=_part("plot.js") + _part("page.js"),
        data=_data(rows, questions, ranks),
        table=_table(rows, ranks) if rows else '<p id="empty">There are no results yet.</p>',
        tasks="".join(_task(question) for question in questions),
        columns="".join(f"<dt>{column.title}</dt><dd>{column.meaning}</dd>\n" for column in COLUMNS),
        about=escape(about),
    )
    write_whole(path, page)


def _part(name: str) -> str:
    return (files("rankwise.bench") / "page" / name).read_text(encoding="utf-8")


def _standings(rows: Sequence[Row], questions: Sequence[Question]) -> list[Standing]:
    """The standing of each row among those of its task and budget, in the order of the rows."""
    better = {question.task: question.higher_is_better for question in questions}
    groups: dict[tuple[str, str], list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault((row.task, row.budget), []).append(index)
    found = [Standing()] * len(rows)
    for (task, _), members in groups.items():
        for index, standing in zip(members, standings([rows[index] for index in members], better[task]), strict=True):
            found[index] = standing
    return found


def _data(rows: Sequence[Row], questions: Sequence[Question], ranks: Sequence[Standing]) -> str:
    """The rows for the scripts, as JSON in which no "<" can end or open an element."""
    content = {
        "questions": [vars(question) for question in questions],
        "rows": [
            {**row.to_dict(), "yardstick": row.yardstick, "front": sorted(standing.front)}
            for row, standing in zip(rows, ranks, strict=True)
        ],
    }
    return json.dumps(content, allow_nan=False).replace("<", "\\u003c")


def _table(rows: Sequence[Row], ranks: Sequence[Standing]) -> str:
    digits = {task: decimals([row for row in rows if row.task == task]) for task in {row.task for row in rows}}
    titles = [("task", "Task"), ("budget", "Budget"), ("method", "Method")]
    titles += [(column.name, column.title) for column in COLUMNS]
    head = "".join(f'<th scope="col" data-column="{name}">{title}</th>' for name, title in titles)
    body = "\n".join(
        _line(index, row, standing, digits[row.task])
        for index, (row, standing) in enumerate(zip(rows, ranks, strict=True))
    )
    return f'<table id="results">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>'


def _line(index: int, row: Row, standing: Standing, digits: dict[str, int]) -> str:
    kind = "yardstick" if row.yardstick else "method"
    start = (
        f'<tr data-row="{index}" class="{kind}"><td data-column="task">{escape(row.task)}</td>'
        f'<td data-column="budget">{escape(row.budget)}</td>'
        f'<th scope="row" data-column="method">{escape(row.method)}</th>'
    )
    if row.quality is not None:
        return start + "".join(cell(column, row, standing, digits) for column in COLUMNS) + "</tr>"
    reason = f'<td class="reason" colspan="{len(COLUMNS) - 1}">{escape(row.reason)}</td>'
    return start + reason + cell(COLUMNS[-1], row, standing, digits) + "</tr>"


def _task(question: Question) -> str:
    direction = "more is better" if question.higher_is_better else "less is better"
    return (
        f"<dt>{escape(question.task)}</dt><dd>{escape(question.description)} Quality: {escape(question.quality)}. "
        f"Retention: {escape(question.retention)}. In both, {direction}.</dd>\n"
    )

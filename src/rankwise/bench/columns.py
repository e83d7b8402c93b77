# SPDX-License-Identifier: Apache-2.0
"""The columns of the leaderboard: what each one is, in words, and how it writes a row's number as HTML.

Scores of one task have one number of decimals, four digits of a typical value, so that they can be compared down the
column. A number that was not measured is a dash. What it does not do: order or choose rows.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from rankwise.bench.rows import Row
from rankwise.bench.standing import SCORES, Standing

ABSENT = "&ndash;"


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: the field of a row.
        title: the header.
        meaning: what the column is, for the page's last section.
        write: makes the cell's HTML of a row and the number of decimals of each score.
    """

    name: str
    title: str
    meaning: str
    write: Callable[[Row, Mapping[str, int]], str]


def decimals(rows: Sequence[Row]) -> dict[str, int]:
    """How many decimals the scores of a task have: four significant digits of the median, at most four decimals."""
    found = {}
    for score in SCORES:
        sizes = [abs(value) for row in rows if (value := getattr(row, score)) is not None]
        typical = statistics.median(sizes) if sizes else 0.0
        found[score] = min(4, max(0, 3 - math.floor(math.log10(typical)))) if typical else 4
    return found


def cell(column: Column, row: Row, standing: Standing, digits: Mapping[str, int]) -> str:
    """A row's cell in a column, marked where it is the best of its task and budget or ties with it."""
    value = column.write(row, digits)
    if column.name in standing.best:
        return f'<td data-column="{column.name}" class="best">{value}</td>'
    if column.name in standing.tied:
        value += '<span title="ties with the best">&nbsp;&asymp;</span>'
        return f'<td data-column="{column.name}" class="tied">{value}</td>'
    return f'<td data-column="{column.name}">{value}</td>'


def _score(name: str) -> Callable[[Row, Mapping[str, int]], str]:
    def write(row: Row, digits: Mapping[str, int]) -> str:
        mean, std = getattr(row, name), getattr(row, name + "_std")
        if mean is None:
            return ABSENT
        spread = "" if std is None else f"&nbsp;&plusmn;&nbsp;{std:.{digits[name]}f}"
        return f"{mean:.{digits[name]}f}{spread}"

    return write


def _number(name: str, form: str) -> Callable[[Row, Mapping[str, int]], str]:
    def write(row: Row, digits: Mapping[str, int]) -> str:
        value = getattr(row, name)
        return ABSENT if value is None else format(value, form)

    return write


def _size(row: Row, digits: Mapping[str, int]) -> str:
    if row.bytes is None:
        return ABSENT
    for unit, size in (("MB", 1e6), ("kB", 1e3)):
        if row.bytes >= size:
            return f"{row.bytes / size:.1f}&nbsp;{unit}"
    return f"{row.bytes}&nbsp;B"


def _rate(row: Row, digits: Mapping[str, int]) -> str:
    if row.rate is None:
        return ABSENT
    edge = '<sup title="at the edge of the grid">&dagger;</sup>' if row.rate_at_edge else ""
    return f"{row.rate:g}{edge}"


def _settings(row: Row, digits: Mapping[str, int]) -> str:
    return f"<code>{escape(row.settings)}</code>"


COLUMNS = (
    Column(
        "quality",
        "Quality",
        "How good the adapted model is at what it was adapted to, on the test split, as mean &plusmn; standard "
        "deviation over the seeds. What it counts is said with each task. The test split chose nothing.",
        _score("quality"),
    ),
    Column(
        "retention",
        "Retention",
        "How well the adapted model still does what the base model could do before, judged like the quality.",
        _score("retention"),
    ),
    Column(
        "parameters",
        "Parameters",
        "Trainable parameters of the adapter, without a new output layer. The budget is what a LoRA of a given rank "
        "has; every method gets its largest setting that has no more.",
        _number("parameters", ",d"),
    ),
    Column("bytes", "On disk", "Size of the saved adapter.", _size),
    Column(
        "step_time",
        "Step time",
        "Seconds that one training step takes, as a multiple of LoRA's in the same process.",
        _number("step_time", ".2f"),
    ),
    Column(
        "memory",
        "Memory",
        "Peak of the tensors alive in a training step, the model's own included, as a multiple of LoRA's.",
        _number("memory", ".2f"),
    ),
    Column(
        "rate",
        "Learning rate",
        "The learning rate that did best on the validation split; every method chose from the same grid.",
        _rate,
    ),
    Column(
        "seeds",
        "Seeds",
        "How many runs the means are of; fewer than elsewhere if some diverged.",
        _number("seeds", "d"),
    ),
    Column("settings", "Settings", "The method as it is written in Python.", _settings),
)

# SPDX-License-Identifier: Apache-2.0
"""The leaderboard: standings and Pareto fronts by their definitions, rows through JSON, and one safe file of HTML."""

import json
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderboard_rows import BONE, DORA, FASHION, FULL, LORA, QUESTIONS, ROWS
from rankwise.bench.columns import decimals
from rankwise.bench.page import write_page
from rankwise.bench.rows import Row
from rankwise.bench.standing import Standing, pareto, standings
from rankwise.bench.task import BenchError

FINITE = st.floats(allow_nan=False, allow_infinity=False)
NASTY = "</script><script>alert('&amp;')</script>"


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6))))
def test_the_front_is_what_nothing_dominates(points: list[tuple[int, int]]) -> None:
    def dominated(x: int, y: int) -> bool:
        return any(a <= x and b >= y and (a, b) != (x, y) for a, b in points)

    assert pareto(points) == [index for index, point in enumerate(points) if not dominated(*point)]


def test_standings_of_a_known_table() -> None:
    lora, loldu, bone, dora, base, full = standings(FASHION, higher_is_better=True)
    assert dora.best == {"quality", "retention", "step_time", "memory", "bytes"}
    assert bone.best == {"parameters", "step_time", "bytes"}
    assert bone.tied == {"quality"}  # 81.5 is within DoRA's 82.0 +- 0.7, LoRA's 80.0 is not
    assert lora.tied == frozenset()
    assert bone.front == {"parameters"}
    assert dora.front == {"parameters", "step_time", "memory", "bytes"}
    assert lora.front == frozenset()
    assert loldu == base == full == Standing()


def test_a_tie_is_within_the_deviation_of_the_best() -> None:
    rows = [DORA, *(replace(LORA, quality=quality) for quality in (81.5, 81.25, 82.0))]
    assert ["quality" in standing.tied for standing in standings(rows[:3], True)] == [False, True, False]
    assert ["quality" in standing.best for standing in standings(rows, True)] == [True, False, False, True]
    assert ["quality" in standing.tied for standing in standings(rows, True)] == [False, True, True, False]


@given(st.lists(st.tuples(FINITE, st.none() | st.floats(0, 10), st.integers(1, 5)), max_size=8))
def test_less_is_better_is_the_mirror_image(values: list[tuple[float, float | None, int]]) -> None:
    rows = [
        replace(LORA, quality=quality, quality_std=std, parameters=parameters, retention=None)
        for quality, std, parameters in values
    ]
    mirrored = [replace(row, quality=-(row.quality or 0.0)) for row in rows]
    assert standings(rows, True) == standings(mirrored, False)


@given(
    st.builds(
        Row,
        parameters=st.integers(0),
        rate=st.none() | FINITE,
        quality=FINITE,
        quality_std=st.none() | FINITE,
        retention=st.none() | FINITE,
        retention_std=st.none() | FINITE,
        step_time=st.none() | FINITE,
        memory=st.none() | FINITE,
        reason=st.just(""),
    )
)
def test_a_row_goes_through_json(row: Row) -> None:
    assert Row.from_dict(json.loads(json.dumps(row.to_dict(), allow_nan=False))) == row


def test_a_row_has_a_number_or_a_reason() -> None:
    with pytest.raises(BenchError, match="LoRA on fashion, budget small: quality is None"):
        replace(LORA, quality=None)
    with pytest.raises(BenchError, match="either a quality or a reason"):
        replace(LORA, reason="it diverged")
    with pytest.raises(BenchError, match="memory is nan, not a finite number"):
        replace(LORA, memory=float("nan"))


def test_a_row_of_another_version_is_refused() -> None:
    data = asdict(LORA)
    del data["memory"]
    with pytest.raises(BenchError, match="lacks memory and has the unknown watts"):
        Row.from_dict({**data, "watts": 3.0})


def test_scores_have_four_digits_of_a_typical_value() -> None:
    def digits(*values: float) -> int:
        return decimals([replace(LORA, quality=value) for value in values])["quality"]

    assert digits(97.1, 96.0, 12.0) == 2
    assert digits(9.5, 8.0, 31000.0) == 3
    assert digits(0.971) == 4
    assert digits(2e5) == 0
    assert digits(0.0) == 4


class Page(HTMLParser):
    """What a browser without JavaScript finds: element names, the lines of the table as texts, and the scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.lines: list[list[str]] = []
        self.scripts: list[str] = []
        self.open = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "tr":
            self.lines.append([])
        if tag in ("td", "th"):
            self.lines[-1].append("")
        if tag in ("td", "th", "script"):
            self.open = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.open = "" if tag == self.open else self.open

    def handle_data(self, data: str) -> None:
        if self.open == "script":
            self.scripts[-1] += data
        elif self.open:
            self.lines[-1][-1] += data.replace("\xa0", " ")


def test_the_table_is_complete_without_javascript(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", ROWS, QUESTIONS, "two cores")
    head, *lines = Page(tmp_path / "page.html").lines
    assert head[:5] == ["Task", "Budget", "Method", "Quality", "Retention"]
    assert [line[:3] for line in lines] == [[row.task, row.budget, row.method] for row in ROWS]
    assert lines[2][3:] == [
        "81.50 \xb1 1.00 \u2248",
        "88.00 \xb1 0.50",
        "50",
        "2.0 kB",
        "1.00",
        "\u2013",
        "0.002",
        "3",
        LORA.settings,
    ]
    assert lines[3][9] == "0.002\u2020"
    assert lines[1][3:] == ["above the budget", LORA.settings]


def test_text_is_escaped_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    nasty = replace(LORA, method="<script>", settings=NASTY)
    refused = replace(nasty, quality=None, reason=NASTY)
    question = replace(QUESTIONS[0], quality=NASTY, retention=NASTY, description=NASTY)
    write_page(path, [nasty, refused], [question], NASTY)
    page = Page(path)
    assert page.tags.count("script") == 2
    assert page.lines[1][2] == "<script>"
    assert page.lines[1][-1] == NASTY
    assert page.lines[2][3] == NASTY
    data = json.loads(page.scripts[0])
    assert [{name: row[name] for name in asdict(nasty)} for row in data["rows"]] == [asdict(nasty), asdict(refused)]
    assert data["questions"] == [asdict(question)]


def test_the_page_needs_no_other_file(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", ROWS, QUESTIONS, "two cores")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.findall(r"https?:|\bsrc\s*=|\bhref\s*=|url\(|@import|\bimport\b|fetch\(", text)
    assert "$" + "style" not in text
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_fronts_are_those_of_each_cost(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", [BONE, DORA, FULL], QUESTIONS, "")
    bone, dora, full = json.loads(Page(tmp_path / "page.html").scripts[0])["rows"]
    assert bone["front"] == ["parameters"]
    assert dora["front"] == ["bytes", "memory", "parameters", "step_time"]
    assert (full["front"], full["yardstick"]) == ([], True)


def test_a_task_without_a_question_leaves_the_old_page(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_page(path, [], QUESTIONS, "")
    before = path.read_bytes()
    with pytest.raises(BenchError, match="rows of chess and questions of fashion, language"):
        write_page(path, [replace(LORA, task="chess")], QUESTIONS, "")
    assert path.read_bytes() == before
    assert "There are no results yet." in path.read_text(encoding="utf-8")

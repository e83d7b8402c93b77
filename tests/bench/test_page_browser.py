# SPDX-License-Identifier: Apache-2.0
"""The leaderboard in a browser: what its scripts make of the table and the plot, read from the document they leave."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page

from leaderboard_rows import QUESTIONS, ROWS
from rankwise.bench.page import write_page


def opened(tab: Page, path: Path, address: str = "") -> str:
    """The document as the browser has it after the scripts have run."""
    tab.goto(f"{path.as_uri()}{address}")
    return tab.content()


def methods(document: str) -> list[str]:
    """The names in the table, in order."""
    return re.findall(r'<tr data-row="\d+".*?<th scope="row"[^>]*>(.*?)</th>', document)


def marks(document: str) -> dict[str, str]:
    """The plot's marks by the method's name."""
    found = re.findall(r'(<g class="marker.*?</g>)', document, flags=re.DOTALL)
    return {re.findall(r'aria-label="(.*?):', mark)[0]: mark for mark in found}


def height(mark: str) -> float:
    return float(re.findall(r'cy="(.*?)"|y1="(.*?)"', mark.replace('class="bar"', ""))[-1][0])


@pytest.fixture
def page(tmp_path: Path) -> Path:
    write_page(tmp_path / "page.html", ROWS, QUESTIONS, "two cores")
    return tmp_path / "page.html"


def test_the_first_view(tab: Page, page: Path) -> None:
    document = opened(tab, page)
    assert methods(document) == ["full fine-tuning", "DoRA", "Bone", "LoRA", "not adapted", "LoLDU"]
    assert re.findall(r'<th [^>]*data-column="(\w+)" aria-sort="(\w+)"', document) == [("quality", "descending")]
    found = marks(document)
    assert found.keys() == {"full fine-tuning", "DoRA", "Bone", "LoRA", "not adapted"}
    assert {name for name, mark in found.items() if 'class="marker front"' in mark} == {"Bone", "DoRA"}
    assert {name for name, mark in found.items() if 'class="marker yardstick"' in mark} == {
        "full fine-tuning",
        "not adapted",
    }
    assert height(found["DoRA"]) < height(found["Bone"]) < height(found["LoRA"])
    assert re.search(r'<path id="front" d="M[\d., ]+H[\d.]+ V[\d.]+ H[\d.]+"', document)
    assert "not adapted: 40 \u25bc" in document  # too far below the others to be drawn in place
    assert "budget_parameters" in document and "small (100 parameters)" in document


def test_a_link_keeps_its_view(tab: Page, page: Path) -> None:
    document = opened(tab, page, "#task=fashion&budget=medium&x=step_time&sort=memory&order=asc")
    assert methods(document) == ["Hydra", "LoRA", "DoRA", "Bone"]
    assert re.findall(r'data-column="(\w+)" aria-sort="(\w+)"', document) == [("memory", "ascending")]
    assert 'aria-label="accuracy on clothes (%) against step time' in document
    assert {name for name, mark in marks(document).items() if 'class="marker front"' in mark} == {"Hydra"}


def test_a_perplexity_is_upside_down(tab: Page, page: Path) -> None:
    document = opened(tab, page, "#task=language")
    assert methods(document) == ["DoRA", "LoRA", "Bone", "not adapted"]
    found = marks(document)
    assert height(found["DoRA"]) < height(found["LoRA"]) < height(found["Bone"])


def test_headers_sort_and_arrow_keys_read_out(tab: Page, page: Path) -> None:
    opened(tab, page, "#task=fashion&budget=small&x=memory")
    for _ in range(2):
        tab.click("th[data-column=parameters] button")
    tab.wait_for_selector("th[data-column=parameters][aria-sort=descending]")
    tab.mouse.move(0, 0)
    tab.focus("[tabindex='0'].marker")
    tab.keyboard.press("ArrowLeft")
    document = tab.content()
    assert methods(document) == ["full fine-tuning", "DoRA", "LoRA", "Bone", "not adapted", "LoLDU"]
    assert tab.url.endswith("#task=fashion&budget=small&x=memory&sort=parameters&order=desc")
    assert "no peak memory (multiple of LoRA's): Bone." in document
    assert re.search(r'<p id="reading"[^>]*>DoRA: quality 82.00.*, parameters 120', document)
    assert re.search(r'<tr data-row="3" class="method active"', document)


def test_a_page_without_results_says_so(tab: Page, tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", [], QUESTIONS, "two cores")
    document = opened(tab, tmp_path / "page.html")
    assert '<p id="empty">There are no results yet.</p>' in document
    assert '<form id="controls" hidden="">' in document


def test_the_line_under_a_moving_pointer_is_read_out(tab: Page, page: Path) -> None:
    opened(tab, page, "#task=fashion&budget=small&x=memory")
    tab.hover("tr[data-row='3'] th")
    tab.wait_for_function("document.getElementById('reading').textContent.startsWith('DoRA: quality 82.00')")
    tab.mouse.move(0, 0)
    tab.wait_for_selector(".active", state="detached")

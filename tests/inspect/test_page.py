# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser: it loads without an error, and a click changes the picture."""

import pytest
import torch
from playwright.sync_api import Page

from rankwise.inspect.weights.spectra import spectra


@pytest.fixture(scope="module")
def report():
    generator = torch.Generator().manual_seed(0)
    blocks = [torch.nn.ModuleDict({"up": torch.nn.Linear(24, 32), "down": torch.nn.Linear(32, 24)}) for _ in range(3)]
    model = torch.nn.ModuleDict({"layers": torch.nn.ModuleList(blocks)})
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return spectra(model)


@pytest.fixture
def opened(report, tab, tmp_path):
    report.save(tmp_path / "report.html")
    tab.goto((tmp_path / "report.html").as_uri())
    tab.wait_for_selector("#detail-0 .main-svg")
    return tab


def drawn(tab: Page, place: str) -> str:
    """The title and the curve of a picture, as drawn."""
    title = tab.text_content(f"{place} .gtitle") or ""
    return title + (tab.get_attribute(f"{place} .scatterlayer path.js-line", "d") or "")


def test_a_clicked_cell_shows_its_matrix(opened):
    before = drawn(opened, "#detail-0")
    assert "layers.0.up" in before
    cells = opened.locator("#panel-0 .nsewdrag").first
    cells.scroll_into_view_if_needed()
    box = cells.bounding_box()
    place = {"x": box["width"] * 0.5, "y": box["height"] * 0.75}  # second block, second row
    cells.hover(position=place)
    opened.wait_for_selector("#panel-0 .hoverlayer .hovertext")
    cells.click(position=place)
    opened.wait_for_function("document.getElementById('detail-0').dataset.shown === 'layers.1.down'")
    after = drawn(opened, "#detail-0")
    assert "layers.1.down" in after
    assert after != before
    assert opened.input_value("#choice-0") == "layers.1.down"


def test_the_list_beside_shows_the_same(opened):
    opened.select_option("#choice-1", "50%")
    assert opened.get_attribute("#detail-1", "data-shown") == "50%"


def test_a_heading_sorts(opened, report):
    opened.click("#numbers button:text-is('effective rank')")
    shown = opened.eval_on_selector_all("#numbers tbody tr", "rows => rows.map(row => row.cells[0].textContent)")
    ranks = {row["name"]: row["effective rank"] for row in report.rows()}
    assert shown == sorted(ranks, key=ranks.__getitem__, reverse=True)


def test_names_cannot_break_the_page(tmp_path):
    model = torch.nn.ModuleDict({"</script><b>": torch.nn.Linear(4, 4)})
    spectra(model).save(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "</script><b>" not in text
    assert "&lt;/script&gt;&lt;b&gt;" in text

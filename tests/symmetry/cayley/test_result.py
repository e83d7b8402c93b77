# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from rankwise.errors import CheckpointError, SymmetryError
from rankwise.symmetry.cayley import Growth, Limits, graph, growth


def test_a_growth_comes_back_from_its_file(tmp_path):
    found = growth(graph("lrx", 7), "bitmap")
    found.save(tmp_path / "growth.json")
    again = Growth.load(tmp_path / "growth.json")
    assert again == found
    assert again.antipodes.tolist() == found.antipodes.tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["growth.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is no saved growth"), ("[]", "is no saved growth"), ('{"layers": [1]}', "is no saved growth")],
)
def test_what_is_no_growth_is_refused(text, message, tmp_path):
    (tmp_path / "growth.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        Growth.load(tmp_path / "growth.json")


def test_a_newer_format_is_refused(tmp_path):
    growth(graph("lrx", 5)).save(tmp_path / "growth.json")
    content = json.loads((tmp_path / "growth.json").read_text()) | {"format": 9}
    (tmp_path / "growth.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="has format 9"):
        Growth.load(tmp_path / "growth.json")


def test_an_incomplete_search_has_no_diameter():
    with pytest.raises(SymmetryError, match="searched to distance 2 only"):
        _ = growth(graph("lrx", 7), limits=Limits(max_layers=2)).diameter


def test_a_layer_that_was_not_kept_is_not_given():
    with pytest.raises(SymmetryError, match="were not kept by bitmap; search with keep= at least that many"):
        _ = growth(graph("lrx", 7), "bitmap", Limits(keep=0)).antipodes

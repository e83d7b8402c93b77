# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from rankwise.cli import main
from rankwise.symmetry.cayley import Growth, families


def test_a_search_prints_layers_and_growth(capsys, tmp_path):
    assert main(["cayley", "lrx", "6", "--save", str(tmp_path / "growth.json"), "--engine", "bitmap"]) == 0
    said = capsys.readouterr().out
    assert "Growth: 1 3 6 11 20 35 55 81 109 128 126 95 40 6 3 1" in said
    assert "720 states, diameter 15, 1 farthest" in said
    assert "bitmap: " in said
    assert Growth.load(tmp_path / "growth.json").layers[:3] == (1, 3, 6)


def test_a_range_is_a_row_each_and_its_diameters_are_fitted(capsys):
    assert main(["cayley", "lrx", "4..9", "--fit"]) == 0
    said = capsys.readouterr().out
    assert "362,880" in said
    assert "n^2" in said


def test_families_are_listed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["cayley", "list"]) == 0
    said = capsys.readouterr().out
    assert all(f" {name} " in said for name in families())


def test_a_search_with_few_layers_says_that_it_is_not_complete(capsys):
    assert main(["cayley", "lrx", "20", "--max-layers", "4"]) == 0
    said = capsys.readouterr().out
    assert "Growth: 1 3 6 12 24" in said
    assert "the search was not complete" in said


def test_a_search_on_disk_is_gone_on_with(capsys, tmp_path):
    command = ["cayley", "lrx", "7", "--engine", "disk", "--disk", str(tmp_path / "d"), "--memory", "1GB"]
    assert main([*command, "--max-layers", "5"]) == 0
    assert len(json.loads((tmp_path / "d" / "search.json").read_text())["layers"]) == 6
    assert main(command) == 0
    assert "5,040 states, diameter 21" in capsys.readouterr().out


def test_a_growth_is_drawn(tmp_path):
    assert main(["cayley", "coxeter", "6", "--plot", str(tmp_path / "growth.png")]) == 0
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lrxx", "5"], "No generator family 'lrxx'. Did you mean lrx"),
        (["lrx"], "lrx takes"),
        (["lrx", "five"], "A parameter is a number or a range such as 4..11, got 'five'"),
        (["lrx", "9..4"], "got '9..4'"),
        (["lrx", "5", "--memory", "4GX"], "--memory must be a number with KB, MB, GB or TB"),
        (["lrx", "13", "--memory", "1GB", "--engine", "bitmap"], "needs 2.3"),
        (["lrx", "5", "--fit"], "--fit needs a range"),
        (["lrx", "5..6", "--plot", "x.png"], "take one graph"),
        (["lrx", "5", "--engine", "quantum"], "No engine 'quantum'"),
        (["lrx", "5..6", "1..2"], "One parameter may be a range"),
        (["heisenberg", "3", "5", "--engine", "bitmap"], "these states are matrices"),
    ],
)
def test_mistakes_end_in_one_message(arguments, message, capsys):
    assert main(["cayley", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in " ".join(said.split())
    assert "Traceback" not in said

# SPDX-License-Identifier: Apache-2.0
import json
import sys

import spen
from spen_pairs import cycles


def test_folds_are_run_once_and_the_page_is_written(tmp_path, monkeypatch, capsys):
    lines = ["20"]
    for number in range(20):
        graph = cycles(3, 3) if number % 2 else cycles(6)
        lines.append(f"6 {number % 2}")
        lines += [" ".join(map(str, (0, 2, *graph[node]))) for node in range(6)]
    (tmp_path / "MUTAG.txt").write_text("\n".join(lines))
    rows, page = tmp_path / "runs" / "rows.jsonl", tmp_path / "page.md"
    page.write_text("before\n<!-- accuracy -->\nold\n<!-- end of accuracy -->\nafter\n")
    monkeypatch.setattr("spen_training.LEAST", 10)
    command = ["spen.py", "--data", str(tmp_path), "--rows", str(rows), "--sets", "MUTAG", "--epochs", "2"]
    command += ["--width", "4", "--write", str(page), "--folds"]
    for folds, expected in ((["0"], 2), (["0", "3"], 4), (["0", "3"], 4)):
        monkeypatch.setattr(sys, "argv", command + folds)
        spen.main()
        assert len(rows.read_text().splitlines()) == expected
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    assert {(row["model"], row["fold"]) for row in found} == {
        (name, fold) for name in ("SPEN", "GIN") for fold in (0, 3)
    }
    assert all(len(row["accuracies"]) == 2 and row["parameters"] > 0 for row in found)
    assert "| MUTAG | 2 / 2 |" in capsys.readouterr().out
    written = page.read_text()
    assert "| MUTAG | 2 / 2 |" in written
    assert written.startswith("before\n<!-- accuracy -->\n| set |")

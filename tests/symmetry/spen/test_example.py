# SPDX-License-Identifier: Apache-2.0
import runpy
import sys
from pathlib import Path

from spen_pairs import cycles

EXAMPLE = Path(__file__).parents[3] / "examples" / "graph_classification.py"


def test_example_trains_on_a_file(tmp_path, monkeypatch, capsys):
    lines = ["30"]
    for number in range(30):
        graph = cycles(3, 3) if number % 2 else cycles(6)
        lines += [f"6 {number % 2}", *(" ".join(map(str, (0, 2, *graph[node]))) for node in range(6))]
    path = tmp_path / "graphs.txt"
    path.write_text("\n".join(lines))
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), "--data", str(path), "--epochs", "25"])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    ours, other = capsys.readouterr().out.splitlines()
    assert "SPEN" in ours
    assert "100.0% of 3 graphs" in ours
    assert "MessagePassing" in other
    assert "100.0%" not in other

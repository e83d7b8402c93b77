# SPDX-License-Identifier: Apache-2.0
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rankwise.bench.comparison import Comparison, compare
from rankwise.bench.plan import REFERENCE
from rankwise.bench.sizes import SIZES
from rankwise.bench.task import BenchError
from rankwise.errors import MethodError
from small_tasks import Small

METHODS = ("lora", "convlora")
SCRIPT = """
import sys
from pathlib import Path
from small_tasks import Small
from rankwise.bench.comparison import Comparison, compare
from rankwise.bench.sizes import SIZES

if __name__ == "__main__":
    SIZES["tiny"] = [Small()]
    for _ in compare(Comparison(Path(sys.argv[1]), "tiny", methods=("lora", "convlora"), workers=1)):
        pass
"""


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(SIZES, "tiny", [Small(), Small2()])


class Small2(Small):
    """The same under another name."""

    name = "needs-data"

    def __init__(self) -> None:
        super().__init__(needs_data=True)


def journal(folder: Path) -> dict[tuple, dict]:
    """What a comparison found out, without what a clock said."""
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    clocks = ("seconds", "time")
    return {
        tuple(line["key"]): {name: value for name, value in line["value"].items() if name not in clocks}
        for line in lines[1:]
    }


def test_a_killed_comparison_goes_on_and_ends_as_if_it_had_not_been(tmp_path, tiny):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    news = list(compare(Comparison(whole, "tiny", methods=METHODS, workers=2)))
    remarks = [one for one in news if isinstance(one, str)]
    assert any("needs-data is left out: this task needs a folder" in remark for remark in remarks)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    paths = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen([sys.executable, str(script), str(killed)], env=os.environ | {"PYTHONPATH": paths})
    results = killed / "results.jsonl"
    while process.poll() is None and (not results.exists() or results.read_text().count("\n") < 4):
        time.sleep(0.02)
    assert process.poll() is None, "it ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = journal_keys(results)
    SIZES["tiny"] = [Small()]
    later = list(compare(Comparison(killed, "tiny", methods=METHODS, workers=1)))
    again = {one.key for one in later if not isinstance(one, str)}
    assert again.isdisjoint(kept)
    assert journal(killed) == journal(whole)
    rows = json.loads((killed / "leaderboard.json").read_text())["rows"]
    reasons = {(row["method"], row["reason"] == "") for row in rows}
    assert reasons == {("LoRA", True), ("ConvLoRA", False), ("not adapted", True), ("full fine-tuning", True)}
    assert "LoRA" in (killed / "leaderboard.html").read_text()


def journal_keys(path: Path) -> set[tuple]:
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1].splitlines()
    return {tuple(json.loads(line)["key"]) for line in whole[1:]}


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"size": "tinny"}, BenchError, "Did you mean tiny"),
        ({"tasks": ("smal-map",)}, BenchError, "Did you mean small-map"),
        ({"methods": ("lorra",)}, MethodError, "Did you mean lora"),
        ({"workers": 0}, BenchError, "workers must be at least 1"),
        ({"tasks": ("needs-data",)}, BenchError, "no task can be run"),
    ],
)
def test_mistakes_are_refused(tmp_path, tiny, changed, error, message):
    with pytest.raises(error, match=message):
        list(compare(Comparison(**{"folder": tmp_path / "out", "size": "tiny"} | changed)))


def test_a_folder_of_another_comparison_is_refused(tmp_path, tiny):
    (tmp_path / "results.jsonl").write_text('{"settings": {"size": "other"}}\n')
    with pytest.raises(BenchError, match="other settings"):
        list(compare(Comparison(tmp_path, "tiny", tasks=("small-map",))))


def test_what_costs_are_relative_to_always_takes_part(tmp_path):
    assert Comparison(tmp_path, methods=("dora",)).chosen_methods() == ["dora", REFERENCE]
    assert len(Comparison(tmp_path).chosen_methods()) >= 24

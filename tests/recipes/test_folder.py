# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import pytest

from rankwise.recipes.errors import OutputError
from rankwise.recipes.folder import Metrics, free_folder, new_folder, write_whole

FULL = Path("/dev/full")  # every write to it fails as on a full disk
needs_full = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")


def test_an_output_folder_is_made_with_its_parents(tmp_path):
    assert new_folder(tmp_path / "a" / "b").is_dir()
    assert list(new_folder(tmp_path / "a" / "b").iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "recipe.yaml").write_text("")
    with pytest.raises(OutputError, match=r"is not empty.* holds a run: .*--resume"):
        new_folder(tmp_path)


def test_a_file_or_an_impossible_place_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file; pass a folder"):
        new_folder(tmp_path / "file")
    with pytest.raises(OutputError, match=r"cannot write to .*Not a directory"):
        new_folder(tmp_path / "file" / "below")


def test_the_default_folder_is_the_first_that_is_free(tmp_path):
    assert free_folder(tmp_path) == tmp_path / "tune-1"
    (tmp_path / "tune-1").mkdir()
    assert free_folder(tmp_path) == tmp_path / "tune-2"


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_whole(path, "old")

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=r"writing .*file failed: No space left on device. Free some space"):
        write_whole(path, "new")
    assert path.read_text() == "old"


@needs_full
def test_a_full_disk_is_told_with_the_way_on():
    with pytest.raises(OutputError, match=r"No space left on device. Free some space, then go on with"):
        Metrics(FULL).append({"event": "step"})


def test_metrics_forget_what_came_after_a_step_and_a_line_that_was_cut_off(tmp_path):
    metrics = Metrics(tmp_path / "metrics.jsonl")
    assert metrics.lines("step") == []
    records = [{"event": "before"}, *({"event": "step", "step": step} for step in (1, 2, 3)), {"event": "after"}]
    for record in records:
        metrics.append(record)
    with metrics.path.open("a") as file:
        file.write('{"event": "st')
    assert metrics.lines("step") == records[1:4]
    metrics.rewind(2)
    assert metrics.path.read_text().count("\n") == 3
    assert metrics.lines("before") + metrics.lines("step") + metrics.lines("after") == records[:3]

"""Rows 1 to 3: a save is all or nothing, whatever stops it."""

import pytest
from reliability.kill import kills
from reliability.room import commit_calls, refused_for_room
from torch import nn

from rankwise import CheckpointError, LoRA, adapt


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_killed_save_leaves_the_old_checkpoint_or_the_new_one(tmp_path, count):
    seen = kills(tmp_path / "adapter", count)
    assert (seen.mixed, seen.strays, seen.wrong_mode) == (0, 0, 0)


def test_files_are_synced_before_their_rename_and_the_folder_after_it(tmp_path):
    calls = commit_calls(tmp_path / "adapter")
    if calls is None:
        pytest.skip("strace is not installed")
    assert calls == ["fsync", "fsync", "rename", "fsync", "rename", "fsync"]


def test_a_full_disk_leaves_the_old_checkpoint_whole(tmp_path):
    assert refused_for_room(tmp_path / "adapter", 50) == (50, 50)


def test_an_unwritable_place_is_an_error_that_names_it(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    with pytest.raises(CheckpointError, match="file"):
        adapt(nn.Sequential(nn.Linear(4, 4)), LoRA(rank=1)).save(blocker / "adapter")

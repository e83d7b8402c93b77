# SPDX-License-Identifier: Apache-2.0
import pytest

from rankwise.recipes.checkpoints import MANIFEST, newest, prune, publish, staging


@pytest.fixture
def folder(tmp_path):
    """Three complete checkpoints."""
    for step in (2, 4, 10):
        write(tmp_path, step)
    return tmp_path


def write(folder, step, content="x"):
    staged = staging(folder) / f"checkpoint-{step}"
    staged.mkdir()
    (staged / "state.bin").write_text(content)
    return publish(staged, folder)


def test_the_newest_is_by_step_and_not_by_name(folder):
    assert newest(folder) == (10, folder / "checkpoint-10")


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "state.bin").write_text("y"),
        lambda path: (path / "state.bin").unlink(),
        lambda path: (path / "more.bin").write_text(""),
        lambda path: (path / MANIFEST).unlink(),
        lambda path: (path / MANIFEST).write_text('{"state.bin"'),
    ],
    ids=["changed", "missing", "added", "no-manifest", "cut-manifest"],
)
def test_a_damaged_one_is_passed_over_for_the_one_before(folder, damage):
    damage(folder / "checkpoint-10")
    assert newest(folder) == (4, folder / "checkpoint-4")


def test_what_was_never_published_does_not_count(tmp_path):
    assert newest(tmp_path / "nowhere") is None
    (staging(tmp_path) / "checkpoint-3").mkdir()
    assert newest(tmp_path) is None


def test_a_checkpoint_takes_the_place_of_a_damaged_one_of_its_name(folder):
    (folder / "checkpoint-10" / MANIFEST).unlink()
    write(folder, 10, "z")
    assert (newest(folder)[1] / "state.bin").read_text() == "z"


def test_only_the_newest_are_kept(folder):
    prune(folder, keep=2)
    assert sorted(path.name for path in folder.glob("checkpoint-*")) == ["checkpoint-10", "checkpoint-4"]

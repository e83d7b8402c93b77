"""Row 18: what an earlier release saved loads, and computes what it computed then."""

from importlib.metadata import version

import pytest
from reliability.golden import GOLDEN, error

from rankwise import methods

FOLDERS = sorted(path.parent for path in GOLDEN.glob("*/*/adapter.json"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_a_golden_checkpoint_gives_the_outputs_it_was_saved_with(folder):
    assert sum(path.stat().st_size for path in folder.iterdir()) < 50_000
    assert error(folder) < 1e-12


def test_every_method_has_a_golden_checkpoint_of_this_release():
    assert {folder.name for folder in FOLDERS if folder.parent.name == version("rankwise")} == set(methods())

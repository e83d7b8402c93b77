# SPDX-License-Identifier: Apache-2.0
"""torch.compile, DDP and FSDP2: all selected cells run in one start of two processes, see `two_processes.py`."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rankwise.testing.grid import registered_name

pytestmark = pytest.mark.timeout(1200)  # the first of these tests runs all cells

SCRIPT = Path(__file__).with_name("two_processes.py")


@pytest.fixture(scope="session")
def results(request, tmp_path_factory) -> dict[str, str]:
    """How each selected cell went, by "feature method kind"; the first worker of a parallel run asks for all."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "two-processes"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "results.json").exists():
            items = [item for item in request.session.items if "results" in getattr(item, "fixturenames", ())]
            found = [item.callspec.params["cell"] for item in items]
            chosen = [[c.feature, registered_name(c.method), c.kind.name] for c in found]
            (folder / "cells.json").write_text(json.dumps(chosen))
            subprocess.run([sys.executable, SCRIPT, folder], check=True)
        return json.loads((folder / "results.json").read_text())


@pytest.mark.feature("compile")
def test_compiled_equals_eager_in_one_graph(cell, results):
    assert_passed(cell, results)


@pytest.mark.feature("ddp")
def test_two_replicas_equal_one_process(cell, results):
    assert_passed(cell, results)


@pytest.mark.feature("fsdp2")
def test_two_shards_equal_one_process_and_save_its_checkpoint(cell, results):
    assert_passed(cell, results)


def assert_passed(cell, results: dict[str, str]) -> None:
    text = results[f"{cell.feature} {registered_name(cell.method)} {cell.kind.name}"]
    assert text == "", text

# SPDX-License-Identifier: Apache-2.0
import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("two_growing.py")


def test_two_replicas_that_see_other_examples_grow_the_same_ranks(tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    replicas = [
        subprocess.Popen(
            [sys.executable, SCRIPT, str(rank), tmp_path], env=environment, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    said = [replica.communicate(timeout=100)[1] for replica in replicas]
    assert [replica.returncode for replica in replicas] == [0, 0], said
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second
    assert first[0] != first[-1]  # they did grow

"""Row 17: the tests can fail. With each planted fault at least one of them does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from reliability.faults import FAULTS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_turns_a_test_red(fault):
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "reliability.faults", "-p", "no:cacheprovider"]
    environment = os.environ | {"RANKWISE_FAULT": fault, "PYTHONPATH": f"{ROOT / 'benchmarks'}:{ROOT / 'tests'}"}
    run = subprocess.run(
        [*command, FAULTS[fault][1]], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1, run.stdout[-2000:] + run.stderr[-2000:]
    assert " failed" in run.stdout

# SPDX-License-Identifier: Apache-2.0
import socket
import subprocess
import sys

import pytest
from torch import distributed

from rankwise.symmetry.cayley.distributed import main


@pytest.fixture
def alone(monkeypatch):
    """What torchrun tells the only process that it starts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1"}
    for name, value in (told | {"MASTER_PORT": port}).items():
        monkeypatch.setenv(name, str(value))


def test_command_prints_the_growth(alone, capsys):
    assert main(["lrx", "5"]) == 0
    out, err = capsys.readouterr()
    assert "LRX n=5: 120 states, frontier shared by 1 processes" in out
    assert out.endswith("diameter 10\ngrowth 1 3 6 10 16 24 29 21 6 3 1\n")
    assert len(err.splitlines()) == 11
    assert not distributed.is_initialized()


def test_command_stops_where_it_is_told(alone, capsys):
    assert main(["lrx", "5", "--max-layers", "2", "--memory", "1"]) == 0
    assert capsys.readouterr().out.endswith("searched to distance 2\ngrowth 1 3 6\n")


@pytest.mark.parametrize(
    ("arguments", "message"), [(["lrxx", "5"], "Did you mean"), (["lrx", "5", "--memory", "1e-6"], "needs at least")]
)
def test_mistakes_end_with_status_two(alone, capsys, arguments, message):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_without_torchrun_it_says_how(monkeypatch, capsys):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert main(["lrx", "5"]) == 2
    assert "torchrun --nproc-per-node 2 -m rankwise.symmetry.cayley.distributed" in capsys.readouterr().err


@pytest.mark.slow
def test_torchrun_starts_two():
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*run, "-m", "rankwise.symmetry.cayley.distributed", "lrx", "7"], check=True, capture_output=True, text=True
    )
    assert done.stdout.count("LRX n=7: 5040 states, frontier shared by 2 processes") == 1

# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

import pytest
import torch
import typer

from rankwise.cli import main
from rankwise.cli.mistakes import mistakes_to_status
from rankwise.errors import Interrupted, TargetError

VERBS = ["bench", "cayley", "chat", "convert", "export", "merge", "methods", "tune", "weyl"]


def test_help_lists_the_verbs(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f" {verb} " in said for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb, capsys):
    assert main([verb, "--help"]) == 0
    assert "Usage: rankwise" in capsys.readouterr().out


def test_a_verb_that_does_not_exist_is_answered_with_the_nearest(capsys):
    assert main(["tun"]) == 2
    assert "tune" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (TargetError("no such layer"), 2, "rankwise: no such layer\n"),
        (Interrupted("stopped after step 3"), 130, "stopped after step 3\n"),
        (KeyboardInterrupt(), 130, "Stopped.\n"),
        (torch.OutOfMemoryError(), 2, "rankwise: out of GPU memory; lower --batch-size"),
        (
            ModuleNotFoundError("no", name="transformers.x"),
            2,
            "needs transformers.x; run `pip install 'rankwise[tune]'`",
        ),
    ],
)
def test_each_kind_of_mistake_has_its_status(error, status, message, capsys):
    with pytest.raises(typer.Exit) as end, mistakes_to_status():
        raise error
    assert end.value.exit_code == status
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("error", [ZeroDivisionError(), ModuleNotFoundError("no", name="nothing")])
def test_a_bug_of_ours_is_not_dressed_up(error):
    with pytest.raises(type(error)), mistakes_to_status():
        raise error


def test_the_module_runs_and_help_needs_no_transformers():
    code = "import sys; from rankwise.cli import main; main(['tune', '--help']); print('transformers' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ended.stdout.strip().endswith("False")
    ended = subprocess.run([sys.executable, "-m", "rankwise.cli", "tun"], check=False, capture_output=True, text=True)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr

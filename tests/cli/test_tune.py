# SPDX-License-Identifier: Apache-2.0
import json
import signal
import subprocess
import sys
from dataclasses import fields

import pytest

import rankwise
from rankwise.cli import main
from rankwise.recipes.folder import RECIPE, RESULT

FAST = ["--steps", "2", "--batch-size", "2", "--held-out", "2"]


@pytest.fixture(scope="module")
def done(tiny_model, tiny_data, tmp_path_factory):
    """The folder of a short run."""
    out = tmp_path_factory.mktemp("run")
    assert main(["tune", str(tiny_model), str(tiny_data), "--rank", "2", "--out", str(out), *FAST]) == 0
    return out


def test_a_run_leaves_its_recipe_with_the_options_in_it(done, tiny_model, tiny_data):
    text = (done / RECIPE).read_text()
    assert f"model: {tiny_model}\n" in text and "rank: 2\n" in text and "steps: 2\n" in text
    assert json.loads((done / RESULT).read_text())["steps"] == 2


def test_a_recipe_file_gives_what_the_options_do_not(done, tmp_path, capsys):
    assert main(["tune", "--recipe", str(done / RECIPE), "--rank", "3", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "rank: 3\n" in said and "batch_size: 2\n" in said and "Predicted memory" in said
    assert not (tmp_path / "runs").exists()


def test_without_out_the_first_free_folder_is_made(tiny_model, tiny_data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "tune-1").mkdir(parents=True)
    assert main(["tune", str(tiny_model), str(tiny_data), *FAST]) == 0
    assert (tmp_path / "runs" / "tune-2" / RESULT).exists()
    said = capsys.readouterr().out
    for words in ("trainable parameters", "held-out perplexity", "peak memory", "before", "after", "first step: all"):
        assert words in said


@pytest.mark.parametrize("name", sorted(rankwise.methods()))
def test_help_shows_every_field_of_the_method(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["tune", "--method", name, "--help"]) == 0
    said = capsys.readouterr().out
    for spec in fields(rankwise.methods()[name]):
        assert "--" + spec.name.replace("_", "-") in said


def test_help_names_the_type_the_default_and_the_meaning(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    main(["tune", "--help"])
    said = capsys.readouterr().out
    assert "kaiming|gaussian|pissa|olora" in said
    assert "inner dimension of the product. Default: 16" in said
    assert "--no-stabilized" in said


@pytest.fixture
def place(tiny_model, tiny_data, tmp_path, monkeypatch):
    """MODEL and DATA, in an empty folder and a wide terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return [str(tiny_model), str(tiny_data)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "lroa"], "there is no method 'lroa'. Did you mean lora"),
        (["--method=lroa"], "there is no method 'lroa'. Did you mean lora"),
        (["--rnk", "3"], "No such option: --rnk"),
        (["--rank", "x"], "rank must be an integer, got 'x'"),
        (["--rank", "0"], "LoRA.rank must be at least 1"),
        (["--rank", "999"], "rank"),
        (["--init", "up"], "init must be one of 'kaiming', "),
        (["--targets", "q_prj"], "Did you mean"),
        (["--epochs", "0"], "epochs must be at least 1"),
        (["--recipe", "nowhere.yaml"], "cannot read the recipe nowhere.yaml"),
        (["--resume", "nowhere"], "nowhere holds no recipe.yaml"),
        (["--resume", "nowhere", "--rank", "3"], "--resume goes on with a run exactly as it began"),
        (["--resume", "nowhere", "--method", "lora"], "--resume goes on with a run exactly as it began"),
        (["--resume", "nowhere", "--dry-run"], "--resume goes on with a run exactly as it began"),
    ],
)
def test_a_mistake_is_one_message_and_status_2(place, tmp_path, capsys, arguments, words):
    assert main(["tune", *([] if "--resume" in arguments else place), *arguments]) == 2
    told = capsys.readouterr()
    assert words in told.err and "Traceback" not in told.err
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").iterdir())


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.jsonl", b"", "holds no example"),
        ("rows.jsonl", b'{"text": "a"}\n{"text": \n', "rows.jsonl, line 2: not JSON"),
        ("rows.csv", b"text\n\xff\n", "rows.csv, line 2: byte 0xff"),
        ("rows.jsonl", b'{"question": "a"}\n', "this one has 'question'"),
    ],
)
def test_bad_data_is_told_before_the_model_is_looked_for(tmp_path, capsys, name, content, words):
    (tmp_path / name).write_bytes(content)
    out = tmp_path / "out"
    assert main(["tune", "./no-model", str(tmp_path / name), "--out", str(out)]) == 2
    assert words in capsys.readouterr().err
    assert not out.exists()


def test_a_model_that_is_not_there_is_told(tiny_data, tmp_path, capsys):
    assert main(["tune", "./no-model", str(tiny_data), "--out", str(tmp_path / "out")]) == 2
    assert "there is no file or folder no-model" in capsys.readouterr().err


def test_a_folder_that_holds_something_is_left_alone(done, tiny_model, tiny_data, capsys):
    before = {path: path.read_bytes() for path in done.iterdir()}
    assert main(["tune", str(tiny_model), str(tiny_data), "--out", str(done)]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in done.iterdir()} == before


LIMITED = """
import resource, signal, sys
from rankwise.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_disk_that_takes_no_more_ends_in_a_message(tiny_model, tiny_data, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-c", LIMITED, "tune", str(tiny_model), str(tiny_data), "--out", str(out), *FAST]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "File too large" in ended.stderr and f"--resume {out}" in ended.stderr and "Traceback" not in ended.stderr
    assert main(["tune", "--resume", str(out)]) == 0


INTERRUPTED = """
import os, signal, sys
from rankwise.cli import main
fsync, calls = os.fsync, []
def counted(descriptor):
    calls.append(1)
    if len(calls) == 8:  # inside the first checkpoint
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    fsync(descriptor)
os.fsync = counted
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGKILL", -signal.SIGKILL)])
def test_a_process_that_is_interrupted_or_killed_is_resumed_to_the_same_bits(
    tiny_model, tiny_data, tmp_path, name, status
):
    options = [str(tiny_model), str(tiny_data), "--steps", "6", "--save-every", "2", "--dropout", "0.2", "--out"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main(["tune", *options, str(whole)]) == 0
    command = [sys.executable, "-c", INTERRUPTED, name, "tune", *options, str(cut)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == status
    if name == "SIGINT":
        assert f"stopped after step 3 of 6, which is saved; go on with `rankwise tune --resume {cut}`" in ended.stderr
    assert main(["tune", "--resume", str(cut)]) == 0
    assert (cut / "adapter.safetensors").read_bytes() == (whole / "adapter.safetensors").read_bytes()

# SPDX-License-Identifier: Apache-2.0
"""A whole run, and runs that are cut off anywhere and resumed: all end in the same bits."""

import io
import json
import os
import signal

import pytest
import torch
from rich.console import Console
from transformers import AutoModelForCausalLM

import rankwise
from rankwise.errors import CheckpointError, Interrupted, StateError, TargetError
from rankwise.recipes.errors import DataError, OutputError, RecipeError
from rankwise.recipes.folder import CHECKPOINTS, METRICS, PLOT, RECIPE, RESULT, Metrics
from rankwise.recipes.recipe import TuneRecipe
from rankwise.recipes.tune import dry_run, resume, tune

STEPS = 7


class Killed(BaseException):
    """Stands for a kill: nobody catches it."""


@pytest.fixture(scope="module")
def recipe(tiny_model, tiny_data):
    return TuneRecipe.from_mapping(
        {
            "model": str(tiny_model),
            "data": str(tiny_data),
            "steps": STEPS,
            "batch_size": 4,
            "save_every": 2,
            "learning_rate": 0.02,
            "rank": 4,
            "dropout": 0.2,
        }
    )


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory):
    """The folder of a run that nothing disturbed, and what it came to."""
    out = tmp_path_factory.mktemp("whole")
    return out, tune(recipe, out, quiet())


def quiet():
    return Console(file=io.StringIO(), width=120)


def same_bits(out, other):
    names = ("adapter.safetensors", "adapter.json")
    return all((out / name).read_bytes() == (other / name).read_bytes() for name in names)


def losses(out):
    return [(line["step"], line["loss"], line["tokens"]) for line in Metrics(out / METRICS).lines("step")]


def cut_off(monkeypatch, recipe, out, call, end):
    """Run until the call-th fsync, which `end` replaces."""
    calls, fsync = iter(range(1, 10_000)), os.fsync

    def maybe(descriptor):
        if next(calls) == call:
            end()
        fsync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", maybe)
        tune(recipe, out, quiet())


def kill():
    raise Killed


def test_the_folder_holds_the_adapter_and_all_that_tells_how_it_came_about(whole, recipe):
    out, outcome = whole
    names = {"adapter.json", "adapter.safetensors", RECIPE, METRICS, PLOT, RESULT}
    assert {path.name for path in out.iterdir()} == names
    assert outcome.perplexity_after < 0.8 * outcome.perplexity_before
    assert [step for step, _, _ in losses(out)] == list(range(1, STEPS + 1))
    assert json.loads((out / RESULT).read_text())["perplexity_after"] == outcome.perplexity_after
    assert len(outcome.answers) == 2 and outcome.answers[0].before != outcome.answers[0].after
    assert outcome.trainable == sum(row.parameters for row in rankwise.load(base(recipe), out).summary().rows)


def base(recipe):
    return AutoModelForCausalLM.from_pretrained(recipe.model, dtype=torch.float32)


def test_the_same_recipe_gives_the_same_bits(whole, recipe, tmp_path):
    tune(recipe, tmp_path, quiet())
    assert same_bits(tmp_path, whole[0]) and losses(tmp_path) == losses(whole[0])


def test_another_seed_gives_others(whole, recipe, tmp_path):
    tune(recipe.updated({"seed": 1}), tmp_path, quiet())
    assert not same_bits(tmp_path, whole[0])


def test_checkpoints_hold_no_base_weight(monkeypatch, recipe, tmp_path):
    with pytest.raises(Killed):
        cut_off(monkeypatch, recipe, tmp_path, 26, kill)
    (checkpoint,) = (tmp_path / CHECKPOINTS).glob("checkpoint-*")
    names = {"adapter.json", "adapter.safetensors", "manifest.json", "optimizer.pt", "rng_state.pth", "scheduler.pt"}
    assert {path.name for path in checkpoint.iterdir()} == names | {"trainer_state.json"}
    (start,) = (path for path in checkpoint.iterdir() if path.name == "adapter.safetensors")
    assert start.stat().st_size < 4 * 4000 + 4096  # 3712 trainable numbers and a header


# The first two syncs write the recipe, the next two the metrics; then a checkpoint takes about a dozen.
@pytest.mark.parametrize("call", [4, 9, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 5, 14, 19, 26, 33, 40))])
def test_a_run_that_was_cut_off_while_writing_goes_on_to_the_same_bits(monkeypatch, whole, recipe, tmp_path, call):
    with pytest.raises(Killed):
        cut_off(monkeypatch, recipe, tmp_path, call, kill)
    if not (tmp_path / RECIPE).exists():  # nothing had begun
        tune(recipe, tmp_path / "again", quiet())
        assert same_bits(tmp_path / "again", whole[0])
        return
    resume(tmp_path, quiet())
    assert same_bits(tmp_path, whole[0]) and losses(tmp_path) == losses(whole[0])


def test_a_damaged_newest_checkpoint_is_passed_over(monkeypatch, whole, recipe, tmp_path):
    with pytest.raises(Killed):
        cut_off(monkeypatch, recipe, tmp_path, 40, kill)
    newest = max((tmp_path / CHECKPOINTS).glob("checkpoint-*"))
    optimizer = newest / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:-100])
    console = quiet()
    resume(tmp_path, console)
    assert f"Going on after step {int(newest.name[-1]) - 2}" in console.file.getvalue()
    assert same_bits(tmp_path, whole[0]) and losses(tmp_path) == losses(whole[0])


def test_ctrl_c_finishes_the_step_saves_and_says_how_to_go_on(monkeypatch, whole, recipe, tmp_path):
    with pytest.raises(Interrupted, match=rf"stopped after step 3 of {STEPS}, .*rankwise tune --resume {tmp_path}"):
        cut_off(monkeypatch, recipe, tmp_path, 10, lambda: signal.raise_signal(signal.SIGINT))
    assert (tmp_path / CHECKPOINTS / "checkpoint-3").is_dir()
    resume(tmp_path, quiet())
    assert same_bits(tmp_path, whole[0]) and losses(tmp_path) == losses(whole[0])


def test_a_full_disk_in_a_checkpoint_ends_the_run_with_the_way_on(monkeypatch, whole, recipe, tmp_path):
    def full():
        raise OSError(28, "No space left on device")

    with pytest.raises((OutputError, CheckpointError), match=r"No space left on device.*free some space"):
        cut_off(monkeypatch, recipe, tmp_path, 20, full)
    resume(tmp_path, quiet())
    assert same_bits(tmp_path, whole[0])


def test_a_dry_run_says_what_would_be_and_writes_nothing(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    console = quiet()
    dry_run(recipe, console)
    said = console.file.getvalue()
    assert "14 of 16 weights adapted, 3,712 trainable parameters" in said
    assert "rank: 4" in said and "Predicted memory:" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"targets": "q_prj"}, TargetError, "Did you mean .*q_proj"),
        ({"method": "petalface"}, RecipeError, "PETALface reads quality for each example, and tune does not give it"),
        ({"data": "nowhere.jsonl"}, DataError, "there is no file nowhere.jsonl"),
        ({"learning_rate": 1e30}, StateError, "the output is not finite; lower the learning rate"),
    ],
)
def test_a_mistake_ends_the_run(recipe, tmp_path, change, error, words):
    out = tmp_path / "out"
    with pytest.raises(error, match=words):
        tune(recipe.updated(change), out, quiet())
    assert not out.exists() or (out / RECIPE).exists()


def test_there_is_nothing_to_resume_without_a_run_or_after_its_end(whole, tmp_path):
    with pytest.raises(OutputError, match=r"holds no recipe.yaml"):
        resume(tmp_path, quiet())
    with pytest.raises(OutputError, match="is complete; there is nothing to resume"):
        resume(whole[0], quiet())


def test_a_run_goes_on_only_with_the_data_it_began_with(monkeypatch, recipe, tiny_data, tmp_path):
    data = tmp_path / "pairs.jsonl"
    data.write_bytes(tiny_data.read_bytes())
    with pytest.raises(Killed):
        cut_off(monkeypatch, recipe.updated({"data": str(data)}), tmp_path / "out", 26, kill)
    data.write_text(data.read_text().replace("b1", "c1", 1))
    with pytest.raises(DataError, match=r"pairs.jsonl is not the data that the run in .* began with"):
        resume(tmp_path / "out", quiet())


def test_epochs_decide_the_steps_and_the_last_batch_is_filled(recipe, tmp_path):
    console = quiet()
    dry_run(recipe.updated({"steps": None, "epochs": 2, "batch_size": 5, "accumulate": 2, "held_out": 1}), console)
    assert "8 steps of 10 sequences" in console.file.getvalue()  # 39 sequences to train on


def test_one_example_is_not_enough(recipe, tmp_path):
    data = tmp_path / "one.jsonl"
    data.write_text('{"prompt": "a", "completion": "b"}\n')
    with pytest.raises(DataError, match="one sequence only"):
        tune(recipe.updated({"data": str(data)}), tmp_path / "out", quiet())


def test_a_method_that_starts_from_data_reads_the_training_sequences(recipe, tmp_path):
    out = tmp_path / "out"
    tune(recipe.updated({"method": "eva", "rank": 2, "rho": 2.0, "steps": 2}), out, quiet())
    model = AutoModelForCausalLM.from_pretrained(recipe.model, dtype=torch.float32)
    adaptation = rankwise.load(model, out)
    ranks = [one.left.shape[-1] for one in adaptation.adapters.values()]
    assert sum(ranks) == 2 * 14 and len(set(ranks)) > 1  # seven weights in each of two layers, dealt out anew

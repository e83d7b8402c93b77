# SPDX-License-Identifier: Apache-2.0
"""What is done with a finished run: chat, export, merge, convert."""

import io
import sys

import pytest
from transformers import AutoModelForCausalLM

from rankwise.cli import main


@pytest.fixture(scope="module")
def run(tiny_model, tiny_data, tmp_path_factory):
    """The folder of a run that learned something."""
    out = tmp_path_factory.mktemp("run") / "out"
    options = ["--steps", "4", "--batch-size", "4", "--learning-rate", "0.02", "--rank", "3"]
    assert main(["tune", str(tiny_model), str(tiny_data), *options, "--out", str(out)]) == 0
    return out


def piped(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


class Typed(io.StringIO):
    """A terminal."""

    def isatty(self):
        return True


def test_a_piped_prompt_gets_one_answer_on_standard_output(run, monkeypatch, capsys):
    said = []
    for _ in range(2):
        piped(monkeypatch, "a1\n")
        assert main(["chat", str(run), "--length", "5"]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] and said[0].endswith("\n") and "tuned" not in said[0]


def test_the_base_answers_beside_the_tuned_model(run, monkeypatch, capsys):
    piped(monkeypatch, "a1")
    assert main(["chat", str(run), "--length", "5", "--base"]) == 0
    first, second = capsys.readouterr().out.split("tuned: ")
    assert first.startswith("base: ") and first.removeprefix("base: ") != second


def test_a_conversation_goes_on_until_an_empty_line(run, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", Typed("a1\nb2\n\nc1\n"))
    assert main(["chat", str(run), "--length", "3"]) == 0
    assert capsys.readouterr().out.count("> ") == 3


def test_an_empty_pipe_or_a_folder_without_a_model_is_refused(run, monkeypatch, tmp_path, capsys):
    piped(monkeypatch, " \n")
    assert main(["chat", str(run)]) == 2
    piped(monkeypatch, "hi")
    assert main(["chat", str(tmp_path)]) == 2
    errors = capsys.readouterr().err
    assert "standard input is empty" in errors and "holds no adapter" in errors


def test_an_export_is_a_model_and_says_what_survived(run, tmp_path, monkeypatch, capsys):
    out = tmp_path / "merged"
    assert main(["export", str(run), "--merged", str(out)]) == 0
    said = capsys.readouterr().out
    assert "14 weights with the update merged, in bfloat16" in said and "survived the rounding on average" in said
    assert str(AutoModelForCausalLM.from_pretrained(out).dtype) == "torch.bfloat16"
    piped(monkeypatch, "a1")
    assert main(["chat", str(out), "--length", "3"]) == 0
    piped(monkeypatch, "a1")
    assert main(["chat", str(out), "--base"]) == 2
    assert "no base to show beside it" in capsys.readouterr().err


def test_adapters_are_merged_with_their_scales(run, tiny_model, tmp_path, capsys):
    out = tmp_path / "merged"
    command = ["merge", str(tiny_model), str(run), str(run), "--out", str(out), "--dtype", "float32"]
    assert main([*command, "--scale", "1", "--scale", "-1"]) == 0
    before, after = (AutoModelForCausalLM.from_pretrained(place).state_dict() for place in (tiny_model, out))
    assert max(float((before[name] - after[name]).abs().max()) for name in before) < 1e-6
    assert main([*command, "--scale", "1"]) == 2
    assert "--scale was given 1 times for 2 adapters" in capsys.readouterr().err


def test_a_conversion_tells_its_error_for_each_weight(run, tiny_model, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["convert", str(run), "--rank", "2", "--out", str(tmp_path / "low")]) == 0
    said = capsys.readouterr().out
    assert "model.layers.0.self_attn.q_proj" in said and "LoRA of rank 2 for 14 weights" in said
    assert main(["convert", str(run), "--rank", "3", "--out", str(tmp_path / "peft"), "--peft"]) == 0
    assert (tmp_path / "peft" / "adapter_config.json").exists()
    assert main(["convert", str(tmp_path / "low"), "--out", str(tmp_path / "again")]) == 2
    assert main(["convert", str(tmp_path / "low"), "--out", str(tmp_path / "again"), "--model", str(tiny_model)]) == 0
    assert "no recipe.yaml that names the base model" in capsys.readouterr().err

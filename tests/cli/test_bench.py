# SPDX-License-Identifier: Apache-2.0
import pytest

from rankwise.cli import main


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "ful"], "there is no size 'ful'. Did you mean full?"),
        (["--tasks", "fashon"], "there is no task 'fashon'. Did you mean fashion?"),
        (["--methods", "lora,dorra"], "there is no method 'dorra'. Did you mean dora"),
        (["--workers", "0"], "workers must be at least 1"),
    ],
)
def test_mistakes_end_in_one_message_and_status_2(tmp_path, capsys, options, message):
    assert main(["bench", str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "results.jsonl").exists()


def test_an_impossible_folder_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["bench", str(tmp_path / "file" / "out")]) == 2
    assert "cannot make the folder" in capsys.readouterr().err

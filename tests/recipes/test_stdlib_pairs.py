# SPDX-License-Identifier: Apache-2.0
import sys

import pytest

from rankwise.recipes.errors import DataError
from rankwise.recipes.stdlib_pairs import HELD_OUT, TRAIN, stdlib_pairs


def top(dialog):
    return dialog.where.partition(".")[0]


def test_the_running_library_gives_pairs_with_no_module_on_both_sides():
    train, held_out = stdlib_pairs()
    assert (len(train), len(held_out)) == (TRAIN, HELD_OUT)
    assert not {top(dialog) for dialog in train} & {top(dialog) for dialog in held_out}
    assert {top(dialog) for dialog in train + held_out} <= sys.stdlib_module_names


def test_the_same_library_gives_the_same_pairs():
    assert stdlib_pairs(train=40, held_out=8) == stdlib_pairs(train=40, held_out=8)


def test_an_answer_is_the_first_paragraph_of_a_docstring(tmp_path):
    source = 'def dedent(text, *, width=4):\n    """Take the common\n    indentation off.\n\n    More."""\n'
    for name in ("textwrap", "queue"):  # one of each side
        (tmp_path / f"{name}.py").write_text(source)
    ((train,), (held_out,)) = stdlib_pairs(tmp_path)
    (_, question), (_, answer) = train.messages
    assert question == "What does this function from the Python module textwrap do?\n\ndef dedent(text, *, width=4)"
    assert answer == "Take the common indentation off."
    assert held_out.where == "queue"


def test_modules_are_read_and_not_run(tmp_path):
    for name in ("textwrap", "queue"):
        (tmp_path / f"{name}.py").write_text('raise SystemExit\ndef f():\n    """Says something of some length."""\n')
    assert [len(side) for side in stdlib_pairs(tmp_path)] == [1, 1]


def test_a_python_without_sources_is_refused(tmp_path):
    with pytest.raises(DataError, match="no docstrings found under"):
        stdlib_pairs(tmp_path)

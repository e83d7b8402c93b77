# SPDX-License-Identifier: Apache-2.0
import json
from itertools import combinations

import pytest

from rankwise.bench.corpora import gsm8k_corpus, read_corpus, shakespeare, stdlib_corpus
from rankwise.bench.task import BenchError

MODULES = ("queue", "cmd", "shlex", "operator", "heapq", "bisect", "textwrap", "abc", "string", "calendar")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    for module in MODULES:
        functions = [f'def {module}_{n}(x):\n    """Say what number {n} of {module} does."""\n' for n in range(4)]
        (folder / f"{module}.py").write_text("\n".join(functions))
    return folder


@pytest.fixture
def problems(tmp_path):
    (tmp_path / "gsm8k").mkdir()
    for side, count in (("train", 40), ("test", 7)):
        rows = [{"question": f"{side} {n} + 1?", "answer": f"It is {n + 1}."} for n in range(count)]
        (tmp_path / "gsm8k" / f"{side}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def questions(side):
    return [one.messages[0][1] for one in side]


def test_no_module_of_the_library_is_on_two_sides(library):
    corpus = stdlib_corpus(library)
    sides = [{one.where for one in side} for side in (corpus.train, corpus.validation, corpus.test)]
    assert all(sides) and set.union(*sides) == set(MODULES)
    assert not any(one & other for one, other in combinations(sides, 2))
    assert stdlib_corpus(library) == corpus


def test_problems_of_the_test_file_are_the_test_and_a_tenth_of_the_others_validates(problems):
    corpus = gsm8k_corpus(problems)
    assert (len(corpus.train), len(corpus.validation)) == (36, 4)
    assert sorted(questions(corpus.train) + questions(corpus.validation)) == sorted(
        f"train {n} + 1?" for n in range(40)
    )
    assert sorted(questions(corpus.test)) == sorted(f"test {n} + 1?" for n in range(7))
    assert questions(corpus.train) != sorted(questions(corpus.train))  # its beginning is a sample
    assert corpus.test[0].messages[1][1].startswith("It is")
    assert gsm8k_corpus(problems) == corpus


@pytest.mark.parametrize("given", [False, True])
def test_without_its_files_gsm8k_is_refused(tmp_path, given):
    with pytest.raises(BenchError, match=r"gsm8k/train\.jsonl.*folder of data.*openai/grade-school-math.*stdlib"):
        read_corpus("gsm8k", tmp_path if given else None)


@pytest.mark.parametrize("line", ['{"question": "1 + 1?"}', "[]", '{"quest'])
def test_a_line_that_is_no_problem_is_refused(problems, line):
    with (problems / "gsm8k" / "test.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(BenchError, match=r"test\.jsonl, line 8, has no 'question' and 'answer'"):
        gsm8k_corpus(problems)


def test_an_unknown_corpus_is_refused():
    with pytest.raises(BenchError, match=r"corpus='gsm8'.*gsm8k.*stdlib.*[Dd]id you mean"):
        read_corpus("gsm8", None)


def test_pieces_are_spread_over_the_text_and_without_it_there_are_none(tmp_path):
    assert shakespeare(None, 3, 2) == shakespeare(tmp_path, 3, 2) == []
    (tmp_path / "tinyshakespeare").mkdir()
    path = tmp_path / "tinyshakespeare" / "input.txt"
    path.write_text("".join(chr(ord("a") + n // 10) for n in range(150)))
    assert [one.text for one in shakespeare(tmp_path, 3, 2)] == [
        "a" * 10 + "b" * 6,
        "f" * 10 + "g" * 6,
        "k" * 10 + "l" * 6,
    ]
    with pytest.raises(BenchError, match="has 150 characters; 10 pieces of 2 tokens take 160"):
        shakespeare(tmp_path, 10, 2)

# SPDX-License-Identifier: Apache-2.0
import json

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rankwise.recipes.data import read_data
from rankwise.recipes.errors import DataError
from rankwise.recipes.examples import Dialog, Pair, Text, example_from
from rankwise.recipes.readers import read_file, records

DIALOG = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]
ROWS = [{"prompt": "2+2=", "completion": " 4"}, {"prompt": "3+3=", "completion": ' "6", six'}]


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def pairs(examples):
    return [(example.prompt, example.completion) for example in examples]


def test_json_lines_csv_and_parquet_give_the_same_pairs(tmp_path):
    expected = [(row["prompt"], row["completion"]) for row in ROWS]
    table = written(tmp_path, "rows.csv", 'prompt,completion\r\n2+2=, 4\r\n3+3=," ""6"", six"\r\n')
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    assert pairs(read_file(written(tmp_path, "rows.jsonl", lines(*ROWS)))) == expected
    assert pairs(read_file(table)) == expected
    assert pairs(read_file(tmp_path / "rows.parquet")) == expected


def test_messages_survive_json_and_parquet(tmp_path):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"messages": DIALOG}]), tmp_path / "rows.parquet")
    for path in (written(tmp_path, "rows.jsonl", lines({"messages": DIALOG})), tmp_path / "rows.parquet"):
        assert read_file(path)[0].messages == (("user", "2+2?"), ("assistant", "4"))


def test_a_plain_file_is_one_text_and_a_byte_order_mark_is_no_part_of_it(tmp_path):
    assert read_file(written(tmp_path, "book.txt", b"\xef\xbb\xbfone\n\ntwo\n"))[0].text == "one\n\ntwo\n"


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(alphabet=st.characters(codec="utf-8"), min_size=1).filter(str.strip), min_size=1))
def test_any_text_survives_json_lines(tmp_path, texts):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts), encoding="utf-8")
    assert [example.text for example in read_file(path)] == texts


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.jsonl", "", "holds no example"),
        ("empty.csv", "text\n", "holds no example"),
        ("empty.txt", " \n", "holds no example"),
        ("bad.jsonl", lines(*ROWS) + '{"text": "a"\n', "bad.jsonl, line 3: not JSON"),
        ("bad.jsonl", lines(ROWS[0]) + "[1]\n", "line 2: must be a JSON object, got list"),
        ("array.json", '[\n{"text": "a"}]', "line 1: not JSON .*one whole object a line"),
        ("bytes.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', "line 2: byte 0xff at position 11 is not UTF-8"),
        ("bytes.csv", b"text\nfine\n\xe9\n", "line 3: byte 0xe9 at position 1 is not UTF-8"),
        ("ragged.csv", "prompt,completion\na,b\nc\n", "line 3: has 1 fields, the header has 2"),
        ("quote.csv", 'text\n"a"b\n', "line 2: not CSV"),
        ("column.jsonl", lines({"question": "a", "answer": "b"}), "line 1: A record needs .*'answer', 'question'"),
        ("half.jsonl", lines({"prompt": "a"}), "line 1: 'completion' is missing beside 'prompt'"),
        ("number.jsonl", lines({"text": 3}), "line 1: 'text' must be text, got int"),
        ("blank.jsonl", lines({"prompt": "a", "completion": " "}), "line 1: 'completion' is empty"),
        ("mute.jsonl", lines({"messages": DIALOG[:1]}), "no message of the role 'assistant'"),
        ("shape.jsonl", lines({"messages": [{"from": "gpt"}]}), "message 1 of 'messages' must be a list of"),
        ("shape.jsonl", lines({"messages": "hi"}), "'messages' must be a list of"),
        ("mixed.jsonl", lines({"prompt": "a", "completion": DIALOG[1:]}), "'prompt' must be a list of"),
        ("data.xlsx", "", "the ending '.xlsx' is none of"),
        ("broken.parquet", "PAR1", "not a Parquet file"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path, name, content, words):
    with pytest.raises(DataError, match=words):
        read_file(written(tmp_path, name, content))


def test_a_completion_of_messages_is_learned_and_its_prompt_is_not():
    example = example_from({"prompt": [*DIALOG, DIALOG[0]], "completion": DIALOG[1:]}, "here")
    assert isinstance(example, Dialog) and example.first == 3 and len(example.messages) == 4


def test_messages_come_before_pairs_and_pairs_before_text():
    assert isinstance(example_from({"text": "a", "messages": DIALOG, **ROWS[0]}, "here"), Dialog)
    assert isinstance(example_from({"text": "a", **ROWS[0]}, "here"), Pair)
    assert isinstance(example_from({"text": "a", "label": 1}, "here"), Text)


def test_rows_of_a_loaded_dataset_are_counted_from_one():
    with pytest.raises(DataError, match="some/set, row 2: "):
        records([{"text": "a"}, {"body": "b"}], "some/set")


def test_a_missing_file_is_answered_with_the_nearest(tmp_path):
    written(tmp_path, "train.jsonl", "")
    with pytest.raises(DataError, match=r"there is no file .*trian.jsonl. Did you mean train.jsonl"):
        read_data(str(tmp_path / "trian.jsonl"))
    with pytest.raises(DataError, match=r"folder .*nowhere does not exist"):
        read_data(str(tmp_path / "nowhere" / "x.jsonl"))
    with pytest.raises(DataError, match="is a folder; pass one file"):
        read_data(str(tmp_path))

# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from rankwise.recipes.encode import IGNORED, encode, prompt_of
from rankwise.recipes.errors import DataError, ModelError
from rankwise.recipes.examples import Dialog, Pair, Text

WORDS = st.text(alphabet=st.characters(codec="ascii", categories=["L", "N", "P", "Zs"]), min_size=1, max_size=30)


@pytest.fixture
def tokenizer(tiny_model):
    return AutoTokenizer.from_pretrained(tiny_model)


def learned(item, tokenizer):
    """The learned tokens as text, stretches of others as a bar."""
    parts, before = [], IGNORED
    for label in item.labels:
        if label == IGNORED and before != IGNORED:
            parts.append("|")
        parts.append("" if label == IGNORED else tokenizer.decode([label]))
        before = label
    return "".join(parts)


def one(example, tokenizer, max_length=400):
    (item,) = encode([example], tokenizer, max_length).items
    return item


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=WORDS, completion=WORDS.filter(str.strip))
def test_of_a_pair_the_completion_and_the_end_are_learned(tokenizer, prompt, completion):
    item = one(Pair(prompt, completion, "here"), tokenizer)
    assert tokenizer.decode(item.input_ids) == prompt + completion + "<|end|>"
    assert learned(item, tokenizer) == completion + "<|end|>"
    assert tokenizer.decode(prompt_of(item)) == prompt


def test_of_a_dialog_each_turn_of_the_assistant_is_learned_with_its_end(tokenizer):
    dialog = Dialog(
        (("system", "s"), ("user", "u"), ("assistant", "a1"), ("user", "v"), ("assistant", "a2")), 0, "here"
    )
    item = one(dialog, tokenizer)
    assert learned(item, tokenizer) == "a1<|end|>|a2<|end|>|"
    assert (
        tokenizer.decode(prompt_of(item)) == "<|start|>system\ns<|end|>\n<|start|>user\nu<|end|>\n<|start|>assistant\n"
    )
    assert item.question == "v"


def test_turns_before_the_completion_are_not_learned(tokenizer):
    dialog = Dialog((("user", "u"), ("assistant", "a1"), ("user", "v"), ("assistant", "a2")), 2, "here")
    assert learned(one(dialog, tokenizer), tokenizer) == "a2<|end|>|"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=WORDS, length=st.integers(8, 12))
def test_of_a_text_everything_is_learned_and_what_is_too_long_is_split(tokenizer, text, length):
    items = encode([Text(text + "0123456789", "here")], tokenizer, length).items
    whole = [token for item in items for token in item.input_ids]
    lost = len(text) + 11 - len(whole)  # a last piece of a single token predicts nothing
    assert tokenizer.decode(whole) == (text + "0123456789<|end|>")[: len(text) + 10 if lost else None]
    assert lost in (0, 1) and all(item.labels == item.input_ids and len(item.labels) <= length for item in items)


def test_what_the_cut_takes_is_counted(tokenizer):
    pairs = [Pair("p" * 20, "c" * 20, "here"), Pair("p", "c", "here"), Pair("p" * 40, "c", "here")]
    encoding = encode(pairs, tokenizer, 30)
    assert (len(encoding.items), encoding.cut, encoding.dropped) == (2, 2, 1)
    assert learned(encoding.items[0], tokenizer) == "c" * 10


def test_the_first_token_predicts_nothing_so_it_alone_is_nothing_to_learn(tokenizer):
    with pytest.raises(DataError, match=r"all 1 examples .* max_length=8; raise max_length"):
        encode([Pair("p" * 8, "c", "here")], tokenizer, 8)


def test_a_template_that_rewrites_history_is_refused(tokenizer):
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] if loop.last else '-' }}{% endfor %}"
    with pytest.raises(DataError, match="row 3: the chat template rewrites earlier turns"):
        one(Dialog((("user", "u"), ("assistant", "a"), ("user", "v"), ("assistant", "b")), 0, "row 3"), tokenizer)


def test_what_the_template_refuses_is_told_with_its_place(tokenizer):
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(DataError, match=r"row 3: .*roles must alternate"):
        one(Dialog((("user", "u"), ("assistant", "a")), 0, "row 3"), tokenizer)


def test_dialogs_need_a_template_and_a_question(tokenizer):
    with pytest.raises(DataError, match="begins with the assistant"):
        one(Dialog((("assistant", "a"),), 0, "here"), tokenizer)
    tokenizer.chat_template = None
    with pytest.raises(ModelError, match="no chat template"):
        one(Dialog((("user", "u"), ("assistant", "a")), 0, "here"), tokenizer)

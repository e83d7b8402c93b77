# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rankwise.recipes.batches import Collator
from rankwise.recipes.chat import Conversation
from rankwise.recipes.encode import IGNORED, Encoded
from rankwise.recipes.evaluate import answer, perplexity
from rankwise.recipes.memory import in_words, peak, predict


@pytest.fixture(scope="module")
def model(tiny_model):
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return AutoTokenizer.from_pretrained(tiny_model)


ITEMS = [
    Encoded([1, 2, 3, 4, 5], [IGNORED, IGNORED, 3, 4, 5]),
    Encoded([7, 8], [7, 8]),
    Encoded([9, 9, 1], [IGNORED, 9, 1]),
]


@torch.no_grad()
def test_perplexity_is_that_of_the_learned_tokens_one_by_one(model):
    total, count = 0.0, 0
    for item in ITEMS:
        chances = model(torch.tensor([item.input_ids])).logits[0].double().log_softmax(-1)
        for place, label in enumerate(item.labels[1:]):
            if label != IGNORED:
                total, count = total - float(chances[place, label]), count + 1
    for batch_size in (1, 2, 3):
        found = perplexity(model, ITEMS, Collator(0), batch_size, lambda _: None)
        assert found == pytest.approx(math.exp(total / count), rel=1e-5)


def test_perplexity_counts_what_is_done_and_leaves_the_mode_alone(model):
    done = []
    model.train()
    perplexity(model, ITEMS, Collator(0), 2, done.append)
    assert done == [2, 1] and model.training
    model.eval()


@torch.no_grad()
def test_an_answer_is_greedy_and_stops_where_asked(model, tokenizer):
    tokens = [1, 2, 3]
    for _ in range(5):
        tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
    assert answer(model, tokenizer, [1, 2, 3], 5) == tokenizer.decode(tokens[3:], skip_special_tokens=True).strip()


def test_a_conversation_streams_what_it_returns_and_remembers(model, tokenizer):
    pieces = []
    conversation = Conversation(model, tokenizer)
    said = conversation.reply("hello", 6, pieces.append)
    assert "".join(pieces).strip() == said
    assert conversation.messages == [{"role": "user", "content": "hello"}, {"role": "assistant", "content": said}]
    text = tokenizer.apply_chat_template(conversation.messages, tokenize=False, add_generation_prompt=True)
    assert tokenizer.decode(conversation._prompt()) == text


def test_without_a_template_a_conversation_continues_the_last_text(model, tiny_model):
    plain = AutoTokenizer.from_pretrained(tiny_model)
    plain.chat_template = None
    conversation = Conversation(model, plain)
    conversation.messages = [{"role": "user", "content": "ab"}]
    assert conversation._prompt() == plain("ab")["input_ids"]


def test_predicted_memory_counts_weights_and_grows_with_the_batch(model):
    need = predict(model, ITEMS, 2, Collator(0))
    parameters = sum(p.numel() * 4 for p in model.parameters())
    assert need.weights == parameters + sum(b.numel() * 4 for b in model.buffers())
    assert need.training == 3 * parameters  # all of this model trains
    twice = predict(model, ITEMS, 4, Collator(0))
    assert twice.activations == pytest.approx(2 * need.activations, rel=0.01)
    assert need.total == need.weights + need.training + need.activations


def test_memory_is_told_in_words():
    assert [in_words(n) for n in (999, 1500, 2.5e6, 3.21e9)] == ["999 B", "2 kB", "2 MB", "3.21 GB"]
    assert peak() > 50e6

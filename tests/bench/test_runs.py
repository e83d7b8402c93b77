# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from rankwise import EVA, LoRA, PETALface
from rankwise.bench.runs import FULL, HEAD_RATE, NOT_ADAPTED, Entrant, Outcome, Trainer, course, run
from small_tasks import SIDE, Small

TASK = Small()


@pytest.mark.parametrize("method", [LoRA(rank=1), EVA(rank=1, rho=1.0), PETALface(rank=1, dropout=0.0)])
def test_a_run_learns_and_is_the_same_again(method, tmp_path):
    bench, entrant = TASK.prepare(None, tmp_path), Entrant("any", method)
    frozen = run(TASK, bench, Entrant(NOT_ADAPTED), 0.0, 0)
    first, again = (run(TASK, bench, entrant, 3e-2, 0) for _ in range(2))
    assert first.scores == again.scores
    assert first.scores.quality < frozen.scores.quality
    assert frozen.scores.retention == 0.0 < first.scores.retention
    assert first.bytes > 0
    assert frozen.parameters == 0


def test_other_seeds_are_other_runs(tmp_path):
    bench = TASK.prepare(None, tmp_path)
    one, other = (run(TASK, bench, Entrant("lora", LoRA(rank=1)), 3e-2, seed) for seed in range(2))
    assert one.scores != other.scores


def test_yardsticks_train_nothing_or_everything(tmp_path):
    bench = TASK.prepare(None, tmp_path)
    assert run(TASK, bench, Entrant(FULL), 3e-2, 0).parameters == 2 * SIDE * SIDE
    assert run(TASK, bench, Entrant(FULL), 3e-2, 0).bytes is None
    assert Trainer(TASK, bench, Entrant(NOT_ADAPTED), 0.0, 0).optimizer is None


def test_a_head_trains_beside_every_entrant_and_is_not_counted(tmp_path):
    task = Small(with_head=True)
    bench = task.prepare(None, tmp_path)
    for entrant, parameters in (
        (Entrant(NOT_ADAPTED), 0),
        (Entrant(FULL), 2 * SIDE * SIDE),
        (Entrant("lora", LoRA(rank=1)), 4 * SIDE),
    ):
        trainer = Trainer(task, bench, entrant, 1e-3, 0)
        assert sum(p.numel() for p in trainer.own) == parameters
        assert [group["lr"] / course(task.steps)(0) for group in trainer.optimizer.param_groups][-1] == HEAD_RATE
        before = bench.head(trainer.adapted.model)[0].clone()
        assert trainer.step(next(bench.batches(1, 0)))
        assert not torch.equal(before, bench.head(trainer.adapted.model)[0])


def test_a_loss_that_is_not_finite_ends_the_run_as_diverged(tmp_path):
    bench = TASK.prepare(None, tmp_path)
    bench.goal = bench.goal * math.inf
    found = run(TASK, bench, Entrant("lora", LoRA(rank=1)), 1e-2, 0)
    assert found.scores is None
    assert Outcome.from_dict(found.to_dict()) == found


def test_the_learning_rate_rises_to_its_peak_and_falls_to_nearly_nothing():
    share = course(20)
    values = [share(step) for step in range(20)]
    assert values[0] == 0.5
    assert values[1] == 1.0
    assert values[2:] == sorted(values[2:], reverse=True)
    assert 0 < values[-1] < 0.02
    assert course(1)(0) == 1.0

# SPDX-License-Identifier: Apache-2.0
from hypothesis import given
from hypothesis import strategies as st

from rankwise.bench.plan import Line, lines, outcome
from rankwise.bench.runs import Outcome
from rankwise.bench.task import Scores
from small_tasks import Small

TASK = Small(rates=(0.1, 0.2, 0.3), seeds=3)
LINE = Line(TASK, "small", "lora")
FIT = {LINE.fit: {"method": {"method": "lora", "rank": 1}, "parameters": 3, "budget": 4}}


def value(validation: float | None) -> dict:
    scores = None if validation is None else Scores(validation, 2 * validation, 0.0)
    return Outcome(3, 100, 1.0, scores).to_dict()


def finished(validations: list[float | None]) -> dict:
    """What the journal holds after the whole grid."""
    return FIT | {LINE.run(rate, 0): value(v) for rate, v in zip(TASK.rates, validations, strict=True)}


def test_a_line_goes_from_its_fit_to_the_grid_to_the_seeds_to_its_cost():
    assert LINE.missing_runs({}) == [LINE.fit]
    assert LINE.missing_runs(FIT) == [LINE.run(rate, 0) for rate in TASK.rates]
    found = finished([3.0, 1.0, 2.0])
    assert LINE.missing_runs(found) == [LINE.run(0.2, 1), LINE.run(0.2, 2)]
    found |= {LINE.run(0.2, 1): value(5.0)}
    assert LINE.missing_runs(found) == [LINE.run(0.2, 2)]
    found |= {LINE.run(0.2, 2): value(9.0)}
    assert LINE.missing_runs(found) == []
    assert LINE.missing_cost(found) == [LINE.cost]
    assert LINE.missing_cost(found | {LINE.cost: {"time": 1.0, "memory": 1.0}}) == []


def test_what_was_refused_or_diverged_asks_for_nothing_more():
    refused = {LINE.fit: {"refused": "it needs convolutions"}}
    assert LINE.missing_runs(refused) == [] == LINE.missing_cost(refused)
    assert LINE.missing_runs(finished([None, None, None])) == []
    one = finished([None, 7.0, None])
    assert LINE.best_rate(one) == 0.2
    assert outcome({"refused": "no"}) is None


@given(st.permutations([1.0, 2.0, 3.0]))
def test_the_best_rate_follows_the_direction_of_the_task(validations):
    best = LINE.best_rate(finished(list(validations)))
    assert best == TASK.rates[validations.index(1.0)]  # an error: less is better


def test_yardsticks_stand_once_in_each_task_and_need_no_fit():
    every = lines([TASK], ["lora", "dora"])
    assert [(line.budget, line.name) for line in every] == [
        ("small", "lora"),
        ("small", "dora"),
        ("small", "not adapted"),
        ("small", "full fine-tuning"),
        ("medium", "lora"),
        ("medium", "dora"),
    ]
    frozen, full = every[2:4]
    assert frozen.missing_runs({}) == [frozen.run(0.0, 0)]
    assert full.missing_runs({}) == [full.run(rate, 0) for rate in TASK.rates]
    assert full.missing_cost({}) == []

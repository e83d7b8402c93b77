# SPDX-License-Identifier: Apache-2.0
import pytest

from rankwise.bench.plan import Line, lines
from rankwise.bench.results import question, rows
from rankwise.bench.runs import Outcome
from rankwise.bench.task import Scores
from small_tasks import Small

TASK = Small(rates=(0.1, 0.2, 0.3), seeds=3)


def value(validation: float, quality: float, retention: float | None = None) -> dict:
    return Outcome(24, 900, 1.0, Scores(validation, quality, retention)).to_dict()


def fitted(line: Line, rank: int = 1) -> dict:
    return {line.fit: {"method": {"method": "lora", "rank": rank}, "parameters": 24, "budget": 32}}


def of(found: dict, method: str, budget: str = "small"):
    every = rows(lines([TASK], ["lora", "dora"]), found)
    return next(row for row in every if (row.method, row.budget) == (method, budget))


def test_a_row_is_the_mean_over_the_seeds_at_the_rate_that_validation_chose():
    line = Line(TASK, "small", "lora")
    found = fitted(line) | {
        line.run(0.1, 0): value(3, 1),
        line.run(0.2, 0): value(1, 5, 7),
        line.run(0.3, 0): value(2, 0),
    }
    found |= {line.run(0.2, 1): value(0, 6, 8), line.run(0.2, 2): value(0, 10, 9)}
    found |= {line.cost: {"time": 1.25, "memory": 0.5}}
    row = of(found, "LoRA")
    assert (row.rate, row.rate_at_edge, row.seeds) == (0.2, False, 3)
    assert (row.quality, row.retention) == (7, 8)
    assert row.quality_std == pytest.approx(7**0.5)  # ((5-7)^2 + (6-7)^2 + (10-7)^2) / 2
    assert row.retention_std == 1
    assert (row.step_time, row.memory, row.parameters, row.bytes, row.budget_parameters) == (1.25, 0.5, 24, 900, 32)
    assert row.settings.startswith("LoRA(rank=1")


def test_the_edge_of_the_grid_is_marked():
    line = Line(TASK, "small", "lora")
    found = fitted(line) | {line.run(rate, 0): value(rate, 1) for rate in TASK.rates}
    found |= {line.run(0.1, seed): value(0, 1) for seed in (1, 2)}
    assert of(found, "LoRA").rate_at_edge


def test_a_row_without_a_number_says_why():
    line = Line(TASK, "small", "lora")
    assert of({}, "LoRA").reason == "not run yet"
    assert of({line.fit: {"refused": "it needs convolutions"}}, "LoRA").reason == "it needs convolutions"
    lost = fitted(line) | {line.run(rate, 0): Outcome(24, 900, 1.0, None).to_dict() for rate in TASK.rates}
    assert of(lost, "LoRA").reason == "diverged at every learning rate"
    refused = fitted(line) | {line.run(rate, 0): {"refused": "all gradients are zero"} for rate in TASK.rates}
    assert of(refused, "LoRA").reason == "all gradients are zero"
    assert of(refused, "LoRA").quality is None


def test_a_yardstick_stands_in_every_budget():
    line = Line(TASK, "small", "not adapted")
    found = {line.run(0.0, seed): value(1, 2 + seed) for seed in range(3)}
    assert [of(found, "not adapted", budget).quality for budget in TASK.budgets] == [3, 3]
    assert not of(found, "not adapted").rate_at_edge


def test_a_question_is_the_first_paragraph_of_the_task():
    assert question(TASK).description == "A shifted identity."
    assert not question(TASK).higher_is_better

# SPDX-License-Identifier: Apache-2.0
"""Budgets are kept, the important come first, and the averages are those of their formula."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise import LoRA
from rankwise.core.budget import allocate, apportion, importance, observe
from rankwise.core.slot import Installed
from rankwise.core.training import Training
from rankwise.testing import assert_close

NUMBERS = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 4), st.integers(0, 5)), min_size=1, max_size=8)


@given(NUMBERS, st.integers(1, 9), st.integers(1, 4), st.integers(0, 20))
def test_growth_keeps_budget_limits_and_order(weights, top, gain, extra):
    marks, ranks = [m for m, _, _ in weights], [r for _, r, _ in weights]
    limits = [r + room for _, r, room in weights]
    budget = sum(ranks) + extra
    grown = allocate(torch.tensor(marks, dtype=torch.float64), ranks, limits, top=top, gain=gain, budget=budget)
    steps = [after - before for after, before in zip(grown, ranks, strict=True)]
    assert all(0 <= step <= gain for step in steps)
    assert all(rank <= limit for rank, limit in zip(grown, limits, strict=True))
    assert sum(grown) <= budget
    assert sum(step > 0 for step in steps) <= top
    open_, chosen = [i for i, r in enumerate(ranks) if limits[i] > r], [i for i, step in enumerate(steps) if step]
    assert len(chosen) == min(top, len(open_)) or sum(grown) == budget
    assert all(marks[i] >= marks[j] for i in chosen for j in open_ if j not in chosen)


def test_of_equals_the_first_grow_and_the_last_takes_the_remainder():
    assert allocate(torch.zeros(4), [1, 1, 1, 1], [9, 1, 9, 9], top=3, gain=2, budget=7) == [3, 1, 2, 1]


def test_importance_is_mean_times_doubt_with_the_new_mean():
    training = Training("default", Installed(LoRA(), 0), {})
    mean, doubt = torch.zeros(2), torch.zeros(2)
    for scores in (torch.tensor([1.0, 2.0]), torch.tensor([4.0, 0.5]), torch.tensor([0.0, 1.0])):
        mean = 0.8 * mean + 0.2 * scores
        doubt = 0.6 * doubt + 0.4 * (scores - mean).abs()
        observe(training, scores, 0.8, 0.6)
        assert_close(importance(training), mean * doubt)


def test_a_score_that_overflowed_leaves_its_weight_as_it_was():
    training = Training("default", Installed(LoRA(), 0), {})
    observe(training, torch.tensor([1.0, 2.0]), 0.8, 0.6)
    before = importance(training)
    observe(training, torch.tensor([torch.nan, 1.0]), 0.8, 0.6)
    after = importance(training)
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_the_worked_example_of_apportioning() -> None:
    """The published code would give (4, 4, 1): 4.5 and 1.5 are both cut."""
    assert apportion(10, [6.0, 3.0, 1.0], [4, 10, 10]) == [4, 5, 1]


def test_what_cannot_be_shared_by_scores_is_shared_evenly() -> None:
    assert apportion(9, [0.0, 0.0, 0.0], [10, 10, 10]) == [3, 3, 3]
    assert apportion(10, [1.0, 0.0, 0.0], [4, 10, 10]) == [4, 3, 3]
    assert apportion(7, [2.0, 2.0, 2.0], [10, 10, 10]) == [3, 2, 2]
    assert apportion(0, [1.0, 2.0], [3, 3]) == [0, 0]
    assert apportion(6, [1.0, 2.0], [3, 3]) == [3, 3]
    assert apportion(2**40 + 1, [1.0, 1.0], [2**41, 2**41]) == [2**39 + 1, 2**39]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 10**9), st.floats(0, 1)), min_size=1, max_size=12), st.floats(0, 1))
def test_the_budget_is_met_exactly_and_no_limit_is_passed(weights: list[tuple[int, float]], part: float) -> None:
    limits, scores = [limit for limit, _ in weights], [score for _, score in weights]
    budget = int(part * sum(limits))
    found = apportion(budget, scores, limits)
    assert sum(found) == budget
    assert all(0 <= share <= limit for share, limit in zip(found, limits, strict=True))
    open_ones = [(s, share) for s, share, limit in zip(scores, found, limits, strict=True) if share < limit - 1]
    for (low, less), (high, more) in zip(sorted(open_ones), sorted(open_ones)[1:], strict=False):
        assert low == high or less <= more + 1


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(0, 400), st.floats(1e-9, 1e9))
def test_equal_scores_give_equal_apportion(count: int, budget: int, score: float) -> None:
    found = apportion(min(budget, 100 * count), [score] * count, [100] * count)
    assert max(found) - min(found) <= 1

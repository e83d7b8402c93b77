# SPDX-License-Identifier: Apache-2.0
"""Budgets are kept, the important come first, and the averages are those of their formula."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from rankwise import LoRA
from rankwise.core.growth import allocate, importance, observe
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

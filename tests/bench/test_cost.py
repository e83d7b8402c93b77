# SPDX-License-Identifier: Apache-2.0
import time

import pytest
import torch

from rankwise.bench.cost import Step, compared, peak_bytes


def test_the_peak_counts_what_is_alive_at_once_and_what_was_there():
    kept = torch.zeros(1000)

    def step():
        a = kept + 1  # 4000 bytes
        b = a * 2  # 4000 more
        del a
        return b + 1  # b and this

    assert peak_bytes(Step(step, lambda: [])) == 8000
    assert peak_bytes(Step(step, lambda: [kept])) == 12000
    assert peak_bytes(Step(lambda: kept.view(10, 100).add_(1), lambda: [kept])) == 4000


def test_a_step_that_takes_twice_as_long_costs_twice():
    def waiting(seconds):
        return Step(lambda: time.sleep(seconds), lambda: [torch.zeros(1)])

    assert compared(waiting(0.04), waiting(0.02)).time == pytest.approx(2, rel=0.2)
    assert compared(waiting(0.01), waiting(0.01)).memory == 1

# SPDX-License-Identifier: Apache-2.0
"""Several matrices at once: the order of results, what an error leaves, and the number of threads afterwards."""

import threading
import time

import pytest
import torch

from rankwise.inspect.side_by_side import side_by_side


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_from_several_threads_of_one_thread_each(three_threads):
    meeting = threading.Barrier(3, timeout=30)

    def work(number: int) -> tuple[int, int]:
        if number < 3:
            meeting.wait()  # passes only if three are at work at once
        return number, torch.get_num_threads()

    assert list(side_by_side(work, range(7))) == [(number, 1) for number in range(7)]
    assert torch.get_num_threads() == 3


def test_an_error_is_raised_and_the_rest_is_left(three_threads):
    begun = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 0:
            raise ValueError("item 0")
        time.sleep(0.01)
        return number

    with pytest.raises(ValueError, match="item 0"):
        list(side_by_side(work, range(1000)))
    assert len(begun) < 900
    assert torch.get_num_threads() == 3

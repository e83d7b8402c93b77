"""Row 4: resuming is bit-exact, wherever the run stopped."""

import pytest
from reliability.resume import unequal

from rankwise import IncreLoRA, methods
from rankwise.testing.grid import tiny


@pytest.mark.parametrize("stops", [3, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", methods())
def test_a_resumed_run_ends_with_the_bits_of_one_that_never_stopped(tmp_path, name, stops):
    assert unequal(tiny(methods()[name]), tmp_path, stops) == []


def test_resuming_is_exact_across_a_change_of_rank(tmp_path):
    method = IncreLoRA(rank=1, target_rank=2, max_rank=3, top_h=1, init_warmup=2, incre_interval=4, incre_rank_num=1)
    assert unequal(method, tmp_path, 6) == []

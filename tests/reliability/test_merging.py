"""Rows 8 to 11: a merge is one rounding, an unmerge exact, a disabled adapter the base, tied weights stay tied."""

import pytest
import torch
from reliability.merging import disabled_differs, merge_error, unmerge_differences
from reliability.tied import tied

from rankwise import LoRA


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_merge_is_within_half_a_unit_in_the_last_place_at_every_entry(dtype):
    merged = merge_error(LoRA(rank=2), dtype)
    assert merged.ulp <= 0.5


def test_the_share_of_a_small_delta_that_rounding_eats_is_reported():
    assert merge_error(LoRA(rank=2), torch.bfloat16, scale=0.002).lost > 0.05
    assert merge_error(LoRA(rank=2), torch.float32, scale=0.002).lost < 1e-4


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_hundred_merges_and_unmerges_change_no_bit(dtype):
    assert unmerge_differences(LoRA(rank=2), dtype, 100) == 0


def test_disabled_and_removed_are_the_base_to_the_bit():
    assert not disabled_differs(LoRA(rank=2, bias=True))


def test_a_tied_weight_is_refused_on_one_side_and_exact_on_both(tmp_path):
    pytest.importorskip("transformers")
    seen = tied(tmp_path / "model")
    assert seen.one_side_refused
    assert seen.merge_error < 1e-6
    assert seen.reload_error < 1e-6

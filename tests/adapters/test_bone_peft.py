# SPDX-License-Identifier: Apache-2.0
"""Bone and Bat equal PEFT's with the same tensors, in outputs, gradients and merged weights."""

import pytest
import torch
from torch import nn

from random_layers import Holder, draw, filled, moved
from rankwise import adapt
from rankwise.adapters.bat import Bat
from rankwise.adapters.bone import Bone
from rankwise.testing import assert_close


@pytest.mark.parametrize("columns", [None, 3])
@pytest.mark.parametrize("in_features", [8, 7])
def test_bone_equals_peft_with_the_same_tensors(in_features: int, columns: int | None) -> None:
    peft = pytest.importorskip("peft")
    mine, theirs = Holder(filled(nn.Linear(in_features, 6))), Holder(filled(nn.Linear(in_features, 6)))
    adapter = moved(adapt(mine, Bone(rank=4, columns=columns), ["layer"])).adapters["layer"]
    config = peft.MissConfig(
        r=4, mini_r=columns or 1, init_weights="mini" if columns else True, target_modules=["layer"]
    )
    wrapped = peft.get_peft_model(theirs, config, autocast_adapter_dtype=False)
    (found,) = (parameter for name, parameter in wrapped.named_parameters() if "miss_block" in name)
    with torch.no_grad():
        found.copy_(adapter.block)
    x = draw(3, 2, in_features, seed=8)
    weights = torch.linspace(-1, 2, mine(x).numel(), dtype=torch.float64)
    for model in (mine, wrapped):
        (model(x).flatten() * weights).sum().backward()
    assert_close(mine(x), wrapped(x))
    assert_close(adapter.block.grad, found.grad)
    assert_close(
        mine.layer._parameters["weight"] + adapter.delta(), wrapped.merge_and_unload(safe_merge=True).layer.weight
    )


@pytest.mark.parametrize("rank", [2, 4])
def test_bat_equals_peft_with_the_same_tensors(rank: int) -> None:
    peft = pytest.importorskip("peft")
    mine, theirs = Holder(filled(nn.Linear(12, 8))), Holder(filled(nn.Linear(12, 8)))
    adapter = moved(adapt(mine, Bat(rank=rank), ["layer"])).adapters["layer"]
    config = peft.MissConfig(r=rank, init_weights="bat", target_modules=["layer"])
    wrapped = peft.get_peft_model(theirs, config, autocast_adapter_dtype=False)
    (found,) = (parameter for name, parameter in wrapped.named_parameters() if "miss_block" in name)
    with torch.no_grad():
        found.copy_(adapter.blocks)
    x = draw(3, 2, 12, seed=8)
    weights = torch.linspace(-1, 2, mine(x).numel(), dtype=torch.float64)
    for model in (mine, wrapped):
        (model(x).flatten() * weights).sum().backward()
    assert_close(mine(x), wrapped(x))
    assert_close(adapter.blocks.grad, found.grad)
    assert_close(mine.layer._parameters["weight"] + adapter.delta(), wrapped.merge_and_unload().layer.weight)

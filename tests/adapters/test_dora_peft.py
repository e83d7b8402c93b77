# SPDX-License-Identifier: Apache-2.0
"""DoRA equals PEFT's with the same tensors, in its outputs and its gradients."""

import pytest
import torch
from torch import nn

from random_layers import Holder, draw, filled, moved
from rankwise import adapt
from rankwise.adapters.dora import DoRA
from rankwise.testing import assert_close


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("build", "x"),
    [
        (lambda: nn.Linear(7, 5), draw(2, 3, 7)),
        (lambda: nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=1), draw(2, 4, 6, 5)),
        (lambda: nn.Embedding(9, 4), torch.tensor([[0, 3, 8], [3, 1, 5]])),
    ],
    ids=["linear", "conv", "embedding"],
)
def test_equals_peft_with_the_same_tensors(build, x, dtype):
    peft = pytest.importorskip("peft")
    mine, theirs = Holder(filled(build(), dtype)), Holder(filled(build(), dtype))
    x = x.to(dtype) if x.is_floating_point() else x
    adapter = moved(adapt(mine, DoRA(rank=3, alpha=5.0), ["layer"])).adapters["layer"]
    config = peft.LoraConfig(r=3, lora_alpha=5, use_dora=True, target_modules=["layer"])
    peft.get_peft_model(theirs, config, autocast_adapter_dtype=False)
    named = {name: parameter for name, parameter in theirs.named_parameters() if parameter.requires_grad}
    pairs = {"_A": adapter.right, "_B": adapter.left, "magnitude": adapter.magnitude}
    found = {key: next(p for name, p in named.items() if key in name) for key in pairs}
    with torch.no_grad():
        for key, own in pairs.items():
            found[key].copy_(own.view_as(found[key]))
    weights = torch.linspace(-1, 2, mine(x).numel(), dtype=dtype)
    for model in (mine, theirs):
        (model(x).flatten() * weights).sum().backward()
    assert_close(mine(x), theirs(x))
    for key, own in pairs.items():
        assert_close(own.grad.flatten(), found[key].grad.flatten())

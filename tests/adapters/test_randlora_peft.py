# SPDX-License-Identifier: Apache-2.0
"""RandLoRA with `pairing="peft"` equals PEFT's with the same tensors, and so are its bases."""

import copy

import pytest
import torch

from random_layers import chain, draw, moved
from rankwise import adapt
from rankwise.adapters.randlora import RandLoRA
from rankwise.testing import assert_close


@pytest.mark.parametrize("sizes", [(12, 20), (20, 12), (12, 12), (10, 7)])
def test_equals_peft_with_the_same_tensors(sizes):
    peft = pytest.importorskip("peft")
    mine, x = chain(*sizes), draw(5, sizes[0])
    theirs = copy.deepcopy(mine)
    method = RandLoRA(rank=3, alpha=7.0, scaling="peft", pairing="peft")
    adaptation = moved(adapt(mine, method, ["0"]))
    adapter = adaptation.adapters["0"]
    config = peft.RandLoraConfig(r=3, randlora_alpha=7, target_modules=["0"])
    layer = peft.get_peft_model(theirs, config, autocast_adapter_dtype=False).base_model.model[0]
    layer.randlora_A["default"] = adaptation.shared.a[:, None].clone()
    layer.randlora_B["default"] = adaptation.shared.b.clone()
    lam, gam = layer.randlora_lambda["default"], layer.randlora_gamma["default"]
    lam.data, gam.data = adapter.lam.detach().T.clone(), adapter.gam.detach().clone()
    weights = torch.linspace(-1, 2, sizes[1], dtype=torch.float64)
    for model in (mine, theirs):
        (model(x) * weights).square().sum().backward()
    assert_close(mine(x), theirs(x))
    assert_close(adapter.delta(), layer.get_delta_weight("default"))
    assert_close(adapter.lam.grad.T, lam.grad)
    assert_close(adapter.gam.grad, gam.grad)


@pytest.mark.parametrize(("basis", "options"), [("sparse", {"sparse": True}), ("bfloat16", {})])
def test_bases_are_pefts(basis, options):
    peft = pytest.importorskip("peft")
    mine, theirs = chain(12, 20, 9).float(), chain(12, 20, 9).float()
    shared = adapt(mine, RandLoRA(rank=4, basis=basis), ["0", "1"], seed=11).shared
    config = peft.RandLoraConfig(r=4, projection_prng_key=11, target_modules=["0", "1"], **options)
    found = peft.get_peft_model(theirs, config).base_model
    assert_close(shared.a, found.randlora_A["default"][:, 0].float())
    assert_close(shared.b, found.randlora_B["default"].float())

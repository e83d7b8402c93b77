# SPDX-License-Identifier: Apache-2.0
"""Layers with random values and adapters away from their start, and what holds for every method on them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rankwise import Adaptation, Adapter, Method, adapt
from rankwise.testing import assert_close


class Holder(nn.Module):
    """A model of one layer, since PEFT adapts children only."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Normal numbers that depend on the shape and the seed alone."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def filled(module: nn.Module, dtype: torch.dtype = torch.float64, seed: int = 3) -> nn.Module:
    """The module with all values random."""
    module = module.to(dtype)
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter.copy_(draw(*parameter.shape, seed=seed + i))
    return module


def moved(adaptation: Adaptation, size: float = 0.4) -> Adaptation:
    """The adapter away from its start."""
    with torch.no_grad():
        for i, parameter in enumerate(adaptation.parameters()):
            parameter.add_(size * draw(*parameter.shape, seed=40 + i).to(parameter))
    return adaptation


def on(layer: nn.Module, method: Method) -> tuple[nn.Module, Adaptation, Any]:
    """A filled layer with the method on it, away from the start, and its adapter."""
    adaptation = moved(adapt(filled(layer), method, ["weight"]))
    return layer, adaptation, adaptation.adapters["weight"]


def assert_starts_at_the_base_and_runs_as(
    dense: Callable[[Any], Tensor], layer: nn.Module, x: Tensor, method: Method
) -> None:
    """Untrained it is the base to the bit; trained, the layer with W0 + dense(adapter) as its weight."""
    layer = filled(layer)
    base = layer(x).detach()
    adaptation = adapt(layer, method, ["weight"])
    adapter: Adapter = adaptation.adapters["weight"]
    assert torch.equal(layer(x), base)
    moved(adaptation)
    assert_close(adapter.delta(), dense(adapter))
    output = layer(x)
    with torch.no_grad():
        layer.weight.add_(adapter.target.to_storage(dense(adapter)))
    with adaptation.disabled():
        assert_close(output, layer(x))
    assert (output - base).abs().max() > 0.1


def assert_gradients_are_those_of(dense: Callable[[Any], Tensor], layer: nn.Module, x: Tensor, method: Method) -> None:
    """Gradients by the adapter's tensors and by the input are those through dense(adapter)."""
    layer, adaptation, adapter = on(layer, method)
    x = x.clone().requires_grad_()
    inputs = [*adaptation.parameters(), x]
    weights = torch.linspace(-1, 2, layer(x).numel(), dtype=torch.float64)
    actual = torch.autograd.grad((layer(x).flatten() * weights).sum(), inputs)
    stored = layer.weight + adapter.target.to_storage(dense(adapter))
    with adaptation.disabled():
        output = torch.func.functional_call(layer, {"weight": stored}, (x,))
    expected = torch.autograd.grad((output.flatten() * weights).sum(), inputs)
    for mine, other in zip(actual, expected, strict=True):
        assert_close(mine, other)

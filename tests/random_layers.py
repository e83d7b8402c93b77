# SPDX-License-Identifier: Apache-2.0
"""Layers with random values and adapters away from their start, and what holds for every method on them."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from rankwise import Adaptation, Adapter, LoRA, Method, adapt
from rankwise.testing import TOLERANCE, assert_close


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


def chain(*sizes: int) -> nn.Sequential:
    """Linear layers from each size to the next, with torch's own start in float64."""
    torch.manual_seed(0)
    return nn.Sequential(*[nn.Linear(a, b) for a, b in pairwise(sizes)]).double()


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


class Made(TorchDispatchMode):
    """Counts the entries of all tensors that are made."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if isinstance(output, Tensor) and not func.is_view:
            self.sizes.append(output.numel())
        return output


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


def assert_drops_its_input(method: Method, groups: int = 1) -> None:
    """A dropout of 0.5 acts on what the update of a convolution reads, in training alone."""
    layer, adaptation, adapter = on(nn.Conv2d(4, 6, 3, groups=groups), method)
    x = draw(2, 4, 6, 5)
    with adaptation.disabled():
        base = layer(x)
    torch.manual_seed(0)
    dropped = layer.train()(x)
    torch.manual_seed(0)
    assert_close(dropped, base + F.conv2d(F.dropout(x, 0.5), adapter.delta(), groups=groups))
    assert_close(layer.eval()(x), base + F.conv2d(x, adapter.delta(), groups=groups))


def assert_merges_scales_and_converts(layer: nn.Module, method: Method, x: Tensor, rank: int) -> None:
    """The function is the same merged, unmerged, at half its strength, and as LoRA of a rank that holds all of it."""
    layer, adaptation, adapter = on(layer, method)
    expected, kept = layer(x), layer.weight.detach().clone()
    adaptation.merge()
    assert_close(layer.weight, kept + adapter.target.to_storage(adapter.delta()))
    assert_close(layer(x), expected)
    adaptation.unmerge()
    assert torch.equal(layer.weight, kept)
    with adaptation.disabled():
        base = layer(x)
    adaptation.scale = 0.5
    assert_close(layer(x) - base, 0.5 * (expected - base))
    adaptation.scale = 1.0
    assert adaptation.convert(LoRA(rank=rank)).relative_error["weight"] < TOLERANCE[torch.float64][0]
    assert_close(layer(x), expected)

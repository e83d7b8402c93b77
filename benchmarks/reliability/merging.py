"""Rows 8 to 11: how exactly a delta goes into the weights, and how exactly it comes out again."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from rankwise import Adaptation, Method
from rankwise.core.merge import exact_delta
from reliability.models import adapted, fitting, perturb, tokens


@dataclass(frozen=True)
class Merged:
    """The largest error of a merge: of a weight's entry in ulp of its dtype, of the outputs relative to their norm."""

    ulp: float
    output: float
    lost: float


def merge_error(method: Method, dtype: torch.dtype, scale: float = 0.3) -> Merged:
    """Merge one method on every kind of layer of `Net` and compare with the exact sum."""
    model, targets = fitting(type(method), dtype)
    adaptation = _perturbed(model, method, targets, scale)
    base = {name: target.stored().detach().double().clone() for name, target in adaptation.targets.items()}
    with _inputs(adaptation):
        deltas = {name: a.target.to_storage(exact_delta(a)[0]) for name, a in adaptation.adapters.items()}
        before = model(tokens()).detach()
        report = adaptation.merge()
    worst = 0.0
    for name, target in adaptation.targets.items():
        exact = base[name] + deltas[name]
        error = (target.parameter().detach().double() - exact).abs()
        worst = max(worst, float((error / _ulp(exact, dtype)).max()))
    output = float((model(tokens()).detach() - before).norm() / before.norm())
    return Merged(worst, output, report.worst)


def unmerge_differences(method: Method, dtype: torch.dtype, cycles: int) -> int:
    """How many of `cycles` merges and unmerges left a bit of the base changed."""
    model, targets = fitting(type(method), dtype)
    adaptation = _perturbed(model, method, targets, 0.3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    changed = 0
    for _ in range(cycles):
        with _inputs(adaptation):
            adaptation.merge()
        adaptation.unmerge()
        changed += not all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    return changed


def disabled_differs(method: Method) -> bool:
    """Whether a disabled adapter, nested blocks and an exception in one included, changes an output bit of the base."""
    model, targets = fitting(type(method))
    model.eval().requires_grad_(False)
    expected = model(tokens())
    adaptation = _perturbed(model, method, targets, 0.3)
    with adaptation.disabled():
        wrong = not torch.equal(model(tokens()), expected)
        try:
            with adaptation.disabled():
                raise RuntimeError
        except RuntimeError:
            wrong |= not torch.equal(model(tokens()), expected)
    with _inputs(adaptation):
        wrong |= torch.equal(model(tokens()), expected)  # on again
    adaptation.remove()
    return wrong or not torch.equal(model(tokens()), expected)


def _perturbed(model: nn.Module, method: Method, targets: list[str], scale: float) -> Adaptation:
    adaptation = adapted(model, method, targets)
    model.eval()
    perturb(adaptation.parameters(), scale)
    return adaptation


def _inputs(adaptation: Adaptation) -> AbstractContextManager:
    names, value = adaptation.method.inputs, adaptation.method.input_values[1]
    return adaptation.context(**dict.fromkeys(names, value)) if names else nullcontext()


def _ulp(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The spacing of `dtype` at each value."""
    info = torch.finfo(dtype)
    exponent = torch.floor(torch.log2(values.abs().clamp_min(info.smallest_normal)))
    return torch.exp2(exponent) * info.eps

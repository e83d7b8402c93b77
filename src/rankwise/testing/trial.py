# SPDX-License-Identifier: Apache-2.0
"""What the contract checks do with a cell: put its method on a model, move its tensors, run it, train it, compare it.

The reference for every comparison is the base model itself, called with weights W + sum_i scale_i delta_i in place of
its own, so it goes through no adapter code but `delta` and `bias_delta`.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.func import functional_call

from rankwise.core.adapt import adapt
from rankwise.core.adaptation import Adaptation
from rankwise.core.method import Method
from rankwise.core.quantized import dequantized
from rankwise.core.targets import Target
from rankwise.linalg import wide
from rankwise.testing.grid import Cell
from rankwise.testing.kinds import EXAMPLES, Kind
from rankwise.testing.tolerance import TOLERANCE

Values = Mapping[str, Tensor | float]
# In units of TOLERANCE. A layer's steps in half precision round one after another; in float32, which has no wider
# reference here, both sides round, a unit each.
_CHAIN = {torch.float16: 8, torch.bfloat16: 2, torch.float32: 2}


def fresh(
    cell: Cell,
    model: nn.Module | None = None,
    *,
    name: str = "default",
    seed: int = 0,
    dtype: torch.dtype | None = None,
) -> Adaptation:
    """The cell's method on a model (a new base if None), at its start, with batches of the kind's inputs if need be."""
    model = cell.kind.model() if model is None else model
    given = next(p.dtype for p in model.parameters() if p.is_floating_point())
    batches = [cell.kind.inputs(50 + batch, given) for batch in range(2)] if cell.method.calibrated else None
    return adapt(model, cell.method, cell.kind.targets, name=name, seed=seed, dtype=dtype, calibration=batches)


def adapted(cell: Cell, model: nn.Module | None = None, *, name: str = "default", seed: int = 0) -> Adaptation:
    """The cell's method on a model (a fresh base if None), its tensors moved off their start, attached if need be."""
    adaptation = fresh(cell, model, name=name, seed=seed)
    perturb(adaptation, seed)
    if cell.method.scheduled:
        attached(adaptation)
    return adaptation


def perturb(adaptation: Adaptation, seed: int = 0) -> None:
    """Add a little to every trainable tensor."""
    generator = torch.Generator().manual_seed(1000 + seed)
    with torch.no_grad():
        for parameter in adaptation.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator).to(parameter))


def attached(adaptation: Adaptation, lr: float = 0.01) -> torch.optim.Optimizer:
    """An optimizer of the adapter's tensors that runs the method's schedule."""
    optimizer = torch.optim.AdamW(list(adaptation.parameters()), lr=lr)
    adaptation.attach(optimizer)
    return optimizer


def per_example(method: Method) -> Values:
    """The method's inputs, another number for each example."""
    return dict.fromkeys(method.inputs, torch.tensor(method.input_values[:EXAMPLES], dtype=torch.float64))


def for_all(method: Method) -> Values:
    """The method's inputs, one number for all examples."""
    return dict.fromkeys(method.inputs, method.input_values[1])


def given(
    adaptation: Adaptation, values: Values, adapters: Sequence[str | None] | None = None, batch_dim: int = 0
) -> AbstractContextManager:
    """The context with these values and adapter names; none if there is nothing to give."""
    if not values and adapters is None:
        return nullcontext()
    return adaptation.context(adapters, batch_dim=batch_dim, **values)


def loss(output: Tensor) -> Tensor:
    """A loss that is a sum over examples."""
    return output.float().square().sum() if output.dtype.itemsize < 4 else output.square().sum()


def train(adaptation: Adaptation, optimizer: torch.optim.Optimizer, batches: Iterable[Tensor], batch_dim: int) -> None:
    """One step for each batch, each example with its own input of the method."""
    for x in batches:
        optimizer.zero_grad()
        with given(adaptation, per_example(adaptation.method), batch_dim=batch_dim):
            loss(adaptation.model(x)).backward()
        optimizer.step()


def gradients(adaptation: Adaptation) -> dict[str, Tensor]:
    """The gradients of the adapter's tensors by name, those that got none left out."""
    return {name: p.grad.clone() for name, p in adaptation.named_parameters() if p.grad is not None}


def dense_base(kind: Kind) -> nn.Module:
    """The base in its dtype's wide version, dequantized: what the reference runs on."""
    base = kind.model()
    if kind.quantized:
        for name, layer in list(base.named_children()):
            assert isinstance(layer, nn.Linear)
            plain = nn.Linear(layer.in_features, layer.out_features)
            plain.weight = nn.Parameter(dequantized(layer, layer.weight).detach())
            plain.bias = layer.bias
            base._modules[name] = plain
    return base.to(wide(kind.dtype)).requires_grad_(False)


def dense_output(base: nn.Module, x: Tensor, parts: Sequence[tuple[float, Adaptation]]) -> Tensor:
    """The output of a plain base whose weights hold the scaled deltas; differentiable in the adapters' tensors."""
    changed: dict[str, Tensor] = {}
    for scale, adaptation in parts:
        for adapter in adaptation.adapters.values():
            target = adapter.target
            weight, bias = _names(base, target)
            delta = target.to_storage(adapter.delta())
            present = changed.get(weight, base.get_parameter(weight))
            changed[weight] = present + scale * delta.to(present.dtype)
            shift = adapter.bias_delta()
            if shift is not None:
                present = changed.get(bias, _bias(base, bias, target))
                moved = torch.zeros_like(present)
                moved[target.bias_channels] = scale * shift.to(present.dtype)
                changed[bias] = present + moved
    wide_x = x.to(next(base.parameters()).dtype) if x.is_floating_point() else x
    return functional_call(base, changed, (wide_x,))


def near(actual: Tensor, expected: Tensor, dtype: torch.dtype | None = None) -> None:
    """Raise unless two tensors agree to the tolerance of a dtype, relative to the largest entry.

    Raises:
        AssertionError: if they do not, or one of them is not a number.
    """
    actual, expected = actual.detach(), expected.detach()
    rtol, atol = TOLERANCE[dtype or actual.dtype]
    if actual.shape != expected.shape:
        raise AssertionError(f"shape {list(actual.shape)}, expected {list(expected.shape)}")
    error = float((actual.double() - expected.double()).abs().max())
    allowed = _CHAIN.get(dtype or actual.dtype, 1) * (atol + rtol * float(expected.double().abs().max()))
    if not error <= allowed:  # also if either is not finite
        raise AssertionError(f"differ by {error:.3g}, allowed {allowed:.3g}")


def all_near(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> None:
    """`near` for every tensor of two sets with the same names, relative to the largest entry of the whole set.

    Raises:
        AssertionError: if they do not agree, or have other names.
    """
    if actual.keys() != expected.keys():
        raise AssertionError(f"{sorted(actual)} are not {sorted(expected)}")
    names = sorted(actual)
    near(
        torch.cat([actual[name].detach().double().flatten() for name in names]),
        torch.cat([expected[name].detach().double().flatten() for name in names]),
        dtype,
    )


def state(adaptation: Adaptation) -> dict[str, Tensor]:
    """Everything that an adaptation holds: tensors of adapters and of shared state, and the schedule."""
    found = {f"{name}:{k}": v for name, one in adaptation.adapters.items() for k, v in one.state_dict().items()}
    if adaptation.shared is not None:
        found |= {f"shared:{key}": value for key, value in adaptation.shared.state_dict().items()}
    schedule = adaptation._installed.schedule
    return found | {f"schedule:{key}": value for key, value in schedule.items()}


def identical(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """Whether two sets of tensors have the same names, dtypes and bits."""
    return first.keys() == second.keys() and all(
        value.dtype == second[key].dtype and torch.equal(value, second[key]) for key, value in first.items()
    )


def _names(base: nn.Module, target: Target) -> tuple[str, str]:
    """The names of a target's weight and bias in a plain base."""
    known = dict(base.named_parameters(remove_duplicate=False))
    weight = target.name if target.name in known else f"{target.name}.{target.attr}"
    return weight, f"{weight.rpartition('.')[0]}.{target.bias_attr}"


def _bias(base: nn.Module, name: str, target: Target) -> Tensor:
    """A base's bias; a layer without one gets a zero one."""
    owner, _, attr = name.rpartition(".")
    module = base.get_submodule(owner)
    if module._parameters[attr] is None:
        zero = torch.zeros(target.out_features, dtype=next(base.parameters()).dtype)
        module._parameters[attr] = nn.Parameter(zero, requires_grad=False)
    return base.get_parameter(name)

# SPDX-License-Identifier: Apache-2.0
"""Put a method's adapters on a model, in place."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from rankwise.core.adaptation import Adaptation
from rankwise.core.calibration import Calibration
from rankwise.core.method import Method, methods
from rankwise.core.place import assemble, place, runtime_of, unwrapped
from rankwise.core.select import find_targets
from rankwise.errors import MethodError, listed


def adapt(  # noqa: PLR0913 - the one call that users make
    model: nn.Module,
    method: Method,
    targets: str | Sequence[str] = "all-linear",
    *,
    name: str = "default",
    ranks: Mapping[str, int] | None = None,
    dtype: torch.dtype | None = None,
    seed: int = 0,
    calibration: Iterable[Any] | None = None,
) -> Adaptation:
    """Put adapters on the weights that `targets` names, freeze everything else, and return the handle.

    Args:
        model: any module; changed in place.
        method: the method and its hyperparameters, e.g. `LoRA(rank=16)`.
        targets: "all-linear", "attention", "mlp", a list of name suffixes, or one regular expression.
        name: the adapter's name; several live side by side.
        ranks: ranks for some targets, by name suffix, in place of the method's own.
        dtype: dtype of the adapter's tensors; None takes float32, or float64 on a float64 base.
        seed: the source of every random number, together with each target's name.
        calibration: batches of the fine-tuning data, for methods that start from data: a loader or a list of mappings
            (run as `model(**batch)`), of tuples or lists (their first element is run) or of tensors.

    Returns:
        The handle to train, save, merge and remove the adapter with.

    Raises:
        TargetError: if nothing matches, or a matched layer cannot carry an adapter.
        MethodError: if a field does not fit a matched layer (a rank above its size), or calibration is missing, not
            read by the method, or does not run through the model.
        StateError: if the name is taken, or the model is already wrapped or sharded.
    """
    model = unwrapped(model)
    found = find_targets(model, targets)
    data = _calibration(model, method, calibration, seed)
    parts = assemble(method, found, ranks=dict(ranks or {}), dtype=dtype, seed=seed, calibration=data)
    return Adaptation(model, name, place(model, name, parts))


def adaptations(model: nn.Module) -> dict[str, Adaptation]:
    """The handles of all adapters on a model, by name; also on a copy of an adapted model."""
    runtime = runtime_of(model)
    return {} if runtime is None else {name: Adaptation(model, name, runtime) for name in runtime.installed}


def _calibration(model: nn.Module, method: Method, batches: Iterable[Any] | None, seed: int) -> Calibration | None:
    name = type(method).__name__
    if method.calibrated and batches is None:
        raise MethodError(
            f"{name} starts from data; pass some batches of it, adapt(model, {name}(...), calibration=loader)."
        )
    if batches is not None and not method.calibrated:
        reading = [kind.__name__ for kind in methods().values() if kind.calibrated]
        raise MethodError(f"{name} reads no calibration data; drop calibration=. Methods that do: {listed(reading)}.")
    return None if batches is None else Calibration(model, batches, seed)

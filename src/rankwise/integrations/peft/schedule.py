# SPDX-License-Identifier: Apache-2.0
# PEFT's layers and configurations are known by their attributes at run time, which a type checker cannot see.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false
# pyright: reportCallIssue=false, reportReturnType=false, reportOperatorIssue=false, reportPrivateImportUsage=false
"""Schedules, penalties and per-example inputs of methods that run inside PEFT.

PEFT has no place for either: a method that changes over training needs the optimizer, one that reads a value for each
example needs that value. The state of a schedule is not in PEFT's folder, so a training that is stopped and continued
through one starts the schedule again; rankwise's own checkpoints keep it.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch
from peft import PeftModel
from torch import Tensor

from rankwise.core.context import make_context
from rankwise.core.slot import Installed
from rankwise.core.training import Attachment, Training, require_held, trainable
from rankwise.errors import StateError, listed, nearest
from rankwise.integrations.peft.tuner import RankwiseModel


def attach(model: PeftModel, optimizer: torch.optim.Optimizer, name: str = "default", *, penalty: bool = True) -> None:
    """Run the schedule and the penalty of an adapter's method at every step of an optimizer.

    Args:
        model: what `peft.get_peft_model` gave.
        optimizer: must hold all of the adapter's tensors.
        name: the adapter's name.
        penalty: whether to add the gradient of the method's penalty before each step.

    Raises:
        StateError: if the model is not rankwise's, has no such adapter, or has a schedule attached already.
    """
    tuner = _tuner(model)
    if name not in tuner.peft_config:
        raise StateError(f"the model has no adapter {name!r}. {nearest(name, tuner.peft_config)}")
    layers = [layer for layer in tuner.rankwise_layers() if name in layer.runtime.installed]
    if any(layer.runtime.installed[name].attachment is not None for layer in layers):
        raise StateError(f"adapter {name!r} is attached to an optimizer already.")
    first = layers[0].runtime.installed[name]
    installed = Installed(first.method, first.seed, shared=first.shared)
    training = Training(name, installed, tuner.rankwise_adapters(name))
    require_held(optimizer, trainable(training), name)
    attachment = Attachment(training, optimizer, penalty=penalty, audit=True)
    for layer in layers:
        layer.runtime.installed[name].attachment = attachment


def context(model: PeftModel, **values: Tensor | float | Sequence[float]) -> AbstractContextManager[None]:
    """Give the forward passes inside a `with` block what is not in their inputs.

    Args:
        model: what `peft.get_peft_model` gave.
        **values: the methods' inputs, one value for each example or one for all.

    Raises:
        StateError: if the model is not rankwise's, or none of its methods reads such an input.
    """
    tuner = _tuner(model)
    known = {name for config in tuner.peft_config.values() for name in config.method_class.inputs}
    unknown = sorted(values.keys() - known)
    if unknown:
        raise StateError(f"no adapter of the model reads {listed(unknown)}; they read: {listed(known)}.")
    return tuner.rankwise_entered(make_context(None, values, 0))


def _tuner(model: PeftModel) -> RankwiseModel:
    if not isinstance(model.base_model, RankwiseModel):
        raise StateError(
            f"the model holds adapters of PEFT's own {type(model.base_model).__name__}, not of rankwise; its "
            "methods have "
            "neither a schedule nor inputs."
        )
    return model.base_model

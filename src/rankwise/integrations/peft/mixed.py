# SPDX-License-Identifier: Apache-2.0
"""PEFT's argument `adapter_names`: each example of a batch with its own adapter, "__base__" for none.

Wrong use is a ValueError with PEFT's own words, which its users know.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from rankwise.core.context import Context

if TYPE_CHECKING:
    from rankwise.integrations.peft.tuner import RankwiseModel

BASE = "__base__"


def adapter_context(
    model: "RankwiseModel", names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Context:
    """The context that gives each example the adapter named for it.

    Raises:
        ValueError: in training, with merged adapters, for unknown names, or if the batch has another number of
            examples.
    """
    if model.training:
        raise ValueError("Cannot pass `adapter_names` when the model is in training mode.")
    if any(layer.merged for layer in model.rankwise_layers()):
        raise ValueError(
            "Cannot pass `adapter_names` when there are merged adapters, please call `unmerge_adapter` first."
        )
    unknown = sorted(set(names) - set(model.peft_config) - {BASE})
    if unknown:
        raise ValueError(f"Trying to infer with non-existing adapter(s): {', '.join(unknown)}")
    batch = next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor) and value.ndim), None)
    if batch is not None and len(batch) != len(names):
        raise ValueError(
            "Length of `adapter_names` should be the same as the number of inputs, but got "
            f"{len(names)} and {len(batch)} respectively."
        )
    return Context(tuple(None if name == BASE else name for name in names))


def names_hook(names: list[str], module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Give a module that PEFT trains and saves the name of each row of its input; examples may span several rows."""
    repeat = len(args[0]) // len(names)
    return args, kwargs | {"adapter_names": [name for name in names for _ in range(repeat)]}

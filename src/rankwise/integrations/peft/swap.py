# SPDX-License-Identifier: Apache-2.0
# PEFT's layers and configurations are known by their attributes at run time, which a type checker cannot see.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false
# pyright: reportCallIssue=false, reportReturnType=false, reportOperatorIssue=false, reportPrivateImportUsage=false
"""Run a module with other tensors in the place of its weights.

For modules that read their weights: attention, recurrent layers, expert stacks, bare parameters. The tensors stand in
the module's own storage for the length of one forward pass; a recurrent layer also keeps them in a flat list.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from rankwise.core.slot import Slot
from rankwise.errors import StateError


@contextmanager
def swapped(module: nn.Module, slots: Mapping[str, Slot]) -> Iterator[None]:
    """Let `module` read the adapted weights and biases of its slots.

    Raises:
        StateError: if the examples of the batch use different adapters, which one weight cannot have.
    """
    tensors = _adapted(module, slots)
    stores = {name: _store(module, name) for name in tensors}
    kept = {name: store[name] for name, store in stores.items()}
    flat = module._flat_weights if isinstance(module, nn.RNNBase) else None
    try:
        for name, tensor in tensors.items():
            stores[name][name] = tensor
        if isinstance(module, nn.RNNBase):
            module._flat_weights = [getattr(module, name, None) for name in module._flat_weights_names]
        yield
    finally:
        for name, tensor in kept.items():
            stores[name][name] = tensor
        if isinstance(module, nn.RNNBase):
            module._flat_weights = flat


def _adapted(module: nn.Module, slots: Mapping[str, Slot]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for attr, slot in slots.items():
        require_one_adapter(slot)
        tensors[attr] = slot.weight(getattr(module, attr))
        bias = slot.target.bias_attr
        if bias is not None and getattr(module, bias, None) is not None:
            before = tensors.get(bias, getattr(module, bias))
            after = slot.bias(before)
            if after is not before:
                tensors[bias] = after
    return tensors


def require_one_adapter(slot: Slot) -> None:
    """Refuse to give one weight the adapters of several examples.

    Raises:
        StateError: if the current context names an adapter for each of several examples.
    """
    context = slot.runtime.current_context()
    if context is not None and context.examples is not None and context.examples > 1:
        raise StateError(
            f"{slot.target.name!r} is read as a weight, so one batch cannot give its examples different "
            "adapters or inputs "
            "here; rankwise.adapt can (it runs such a module once for each), or run one batch for each adapter."
        )


def _store(module: nn.Module, name: str) -> dict:
    """The dictionary that holds an attribute: FSDP keeps views of its flat parameter outside of `_parameters`."""
    return module.__dict__ if name in module.__dict__ else module._parameters

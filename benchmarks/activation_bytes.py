# SPDX-License-Identifier: Apache-2.0
"""The memory that a training step holds between its forward and its backward pass, the same on every machine.

Autograd is asked for every tensor it keeps. Each storage counts once and whole, and those of the given tensors
(parameters, inputs) do not count. Working memory that is freed within the forward pass is not seen.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def activation_bytes(forward: Callable[[], object], known: Iterable[Tensor]) -> int:
    """Bytes that a forward pass keeps for its backward pass, beyond tensors that exist anyway."""
    exempt = {tensor.untyped_storage().data_ptr() for tensor in known}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if tensor.is_floating_point() and storage.data_ptr() not in exempt:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    total = sum(kept.values())
    del result  # until here every kept tensor was alive, so no address was counted for two of them
    return total

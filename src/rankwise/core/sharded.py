# SPDX-License-Identifier: Apache-2.0
"""Tensors that FSDP2 has sharded over processes.

Importing torch's DTensor takes about a second, and a tensor can only be one once somebody else has imported it; so it
is looked up, not imported.
"""

import sys

from torch import Tensor

_MODULE = "torch.distributed.tensor"


def is_sharded(tensor: Tensor) -> bool:
    """Whether a tensor is spread over processes."""
    module = sys.modules.get(_MODULE)
    return module is not None and isinstance(tensor, module.DTensor)


def whole(tensor: Tensor) -> Tensor:
    """The full values of a tensor; for a sharded one every process must call this."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def local(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process holds; all of it if it is not sharded."""
    return tensor.to_local() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]


def shard_of(values: Tensor, like: Tensor) -> Tensor:
    """This process's part of values that all processes hold, cut as `like` is; they broadcast against its shape."""
    if not is_sharded(like):
        return values
    module, full = sys.modules[_MODULE], values.expand(like.shape).contiguous()
    everywhere = [module.Replicate()] * like.device_mesh.ndim  # type: ignore[attr-defined]
    spread = module.DTensor.from_local(full, like.device_mesh, everywhere, run_check=False)  # type: ignore[attr-defined]
    return spread.redistribute(placements=like.placements).to_local()  # type: ignore[attr-defined]

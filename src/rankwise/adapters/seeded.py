# SPDX-License-Identifier: Apache-2.0
"""Frozen random tensors that all layers of an adaptation share and no checkpoint holds.

They are drawn from the seed again when a checkpoint is loaded. Saved in their place is a probe, the last numbers of
each, so that another random stream (of another version of torch) is noticed instead of meaning another function.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rankwise.errors import CheckpointError

_PROBED = 8  # numbers kept of each tensor


class Seeded(nn.Module):
    """Random tensors by name, as buffers that are not saved.

    Args:
        tensors: what was drawn.

    Attributes:
        probe: the last numbers of each, in the order given; saved.
    """

    probe: Tensor

    def __init__(self, **tensors: Float[Tensor, "..."]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor, persistent=False)
        self._names = tuple(tensors)
        self.register_buffer("probe", self._probed())

    def require_same(self) -> None:
        """Check, once a checkpoint's probe is in, that the seed gave the tensors that the adapter was trained with.

        Raises:
            CheckpointError: if it did not.
        """
        if not torch.allclose(self._probed().float(), self.probe.float(), rtol=0.02, atol=0.0):
            raise CheckpointError(
                "the seed gives other random numbers here than where the adapter was trained, so what was trained on "
                "them would mean another function. Load it with the version of torch it was saved with, and convert it "
                "to LoRA there."
            )

    def _probed(self) -> Float[Tensor, " numbers"]:
        return torch.cat([getattr(self, name).flatten()[-_PROBED:] for name in self._names])

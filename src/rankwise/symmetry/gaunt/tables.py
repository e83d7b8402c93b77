# SPDX-License-Identifier: Apache-2.0
"""Modules with constant tables: computed in float64, cast to the module's dtype, and computed again when it changes.

A module that is moved from float32 to float64 then has the float64 tables, not float32 ones with zeros behind.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn


class Tables(nn.Module, ABC):
    """A module whose buffers are functions of its settings; subclasses call `fill` at the end of `__init__`."""

    @abstractmethod
    def tables(self) -> dict[str, np.ndarray]:
        """The tables by name, in float64 or int64."""

    def fill(self) -> None:
        """Register the tables as buffers that no checkpoint holds."""
        like = torch.empty(0, dtype=torch.get_default_dtype())
        for name, table in self.tables().items():
            self.register_buffer(name, _cast(table, like), persistent=False)
            if table.dtype == np.float64:
                self._first = name

    def table(self, name: str) -> Tensor:
        """One of the tables as it is now."""
        return self._buffers[name]  # type: ignore[return-value]

    @property
    def like(self) -> Tensor:
        """A table, for its dtype and device."""
        return self.table(self._first)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Tables":
        super()._apply(fn, recurse)
        for name, table in self.tables().items():
            setattr(self, name, _cast(table, self.table(name)))
        return self


def _cast(table: np.ndarray, like: Tensor) -> Tensor:
    dtype = torch.int64 if np.issubdtype(table.dtype, np.integer) else like.dtype
    return torch.as_tensor(np.ascontiguousarray(table)).to(like.device, dtype)

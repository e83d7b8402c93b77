# SPDX-License-Identifier: Apache-2.0
"""What an adaptation covers: matched weights, shapes, trainable parameters."""

from collections import Counter
from dataclasses import dataclass

from torch import nn

from rankwise.core.adapter import Adapter
from rankwise.core.method import Method
from rankwise.core.select import all_candidates
from rankwise.core.slot import Installed
from rankwise.errors import listed


@dataclass(frozen=True)
class Row:
    """One adapted weight: its name, kind, canonical shape and trainable parameters."""

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int


@dataclass(frozen=True)
class Summary:
    """What an adaptation covers.

    Attributes:
        name: the adapter's name.
        method: the method.
        rows: one for each target.
        shared: trainable parameters that the targets share.
        candidates: how many weights of the model could be adapted.
        total: parameters of the whole model, adapters included.
        without: targets that the method gave rank 0, so that they have no adapter.
    """

    name: str
    method: Method
    rows: tuple[Row, ...]
    shared: int
    candidates: int
    total: int
    without: tuple[str, ...] = ()

    @property
    def trainable(self) -> int:
        """Number of trainable parameters."""
        return self.shared + sum(row.parameters for row in self.rows)

    def __str__(self) -> str:
        head = (
            f"{self.name}: {self.method}\n{len(self.rows)} of {self.candidates} weights adapted, {self.trainable:,} "
            f"trainable parameters ({self.trainable / self.total:.3%} of {self.total:,})"
        )
        groups = Counter((row.name.rsplit(".", 1)[-1], row.kind, row.shape, row.parameters) for row in self.rows)
        lines = [
            f"  {count:4d} x {leaf:<24} {kind:<18} {'x'.join(map(str, shape)):<16} {parameters:>10,} each"
            for (leaf, kind, shape, parameters), count in groups.items()
        ]
        shared = [f"  shared: {self.shared:,}"] if self.shared else []
        without = [f"  rank 0, no adapter: {listed(self.without)}"] if self.without else []
        return "\n".join([head, *lines, *shared, *without])


def summarize(model: nn.Module, name: str, installed: Installed, adapters: dict[str, Adapter]) -> Summary:
    """Count what one adaptation adds to a model."""
    rows = tuple(
        Row(path, type(adapter.target).__name__, adapter.target.shape, _trainable(adapter))
        for path, adapter in adapters.items()
    )
    total = sum(p.numel() for p in model.parameters())
    without = tuple(path for path, rank in installed.ranks.items() if rank == 0)
    candidates = len(all_candidates(model))
    return Summary(name, installed.method, rows, _trainable(installed.shared), candidates, total, without)


def _trainable(module: nn.Module | None) -> int:
    return 0 if module is None else sum(p.numel() for p in module.parameters() if p.requires_grad)

# SPDX-License-Identifier: Apache-2.0
"""What an adaptation covers: matched weights, shapes, trainable parameters."""

from collections import Counter
from dataclasses import dataclass

from torch import nn

from rankwise.core.adapter import Adapter
from rankwise.core.method import Method
from rankwise.core.select import all_candidates


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
    """

    name: str
    method: Method
    rows: tuple[Row, ...]
    shared: int
    candidates: int
    total: int

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
        return "\n".join([head, *lines, *([f"  shared: {self.shared:,}"] if self.shared else [])])


def summarize(
    model: nn.Module, name: str, method: Method, adapters: dict[str, Adapter], shared: nn.Module | None
) -> Summary:
    """Count what one adaptation adds to a model."""
    rows = tuple(
        Row(path, type(adapter.target).__name__, adapter.target.shape, _trainable(adapter))
        for path, adapter in adapters.items()
    )
    total = sum(p.numel() for p in model.parameters())
    return Summary(name, method, rows, _trainable(shared), len(all_candidates(model)), total)


def _trainable(module: nn.Module | None) -> int:
    return 0 if module is None else sum(p.numel() for p in module.parameters() if p.requires_grad)

# SPDX-License-Identifier: Apache-2.0
"""What a search gives: the number of states at each distance, and how it was found."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from rankwise.errors import CheckpointError, SymmetryError

_FORMAT = 1


@dataclass(frozen=True)
class Layer:
    """One finished layer, as `report` gets it while a search runs.

    Args:
        distance: from the start.
        size: states at this distance.
        total: states found so far.
        seconds: since the search began.
    """

    distance: int
    size: int
    total: int
    seconds: float


@dataclass(frozen=True)
class Limits:
    """What a search may use.

    Args:
        memory: bytes of working memory; by default four fifths of what is free now.
        max_layers: largest distance to look at; None searches everything.
        disk: folder for what does not fit into memory; None keeps to memory.
        keep: largest number of states of the last layer that the result holds; a larger layer is left out.
        threads: how many threads work at once; by default one for each core.
        report: called after each layer.
    """

    memory: int = field(default_factory=lambda: int(0.8 * psutil.virtual_memory().available))
    max_layers: int | None = None
    disk: Path | None = None
    keep: int = 1000
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    report: Callable[[Layer], None] = lambda layer: None


@dataclass(frozen=True)
class Growth:
    """The growth of a graph: `layers[d]` states lie at distance d from the start.

    Args:
        title: of the graph.
        layers: number of states at each distance.
        complete: whether every state was reached; False if `max_layers` ended the search.
        method: the engine that searched, or the closed form or symmetry that was used instead.
        seconds: wall time.
        memory: bytes that the method declared to need at most.
        last_layer: the states of the last layer, [states, ...]; None where they are more than was asked for or the
            method does not see states.
    """

    title: str
    layers: tuple[int, ...]
    complete: bool
    method: str
    seconds: float
    memory: int
    last_layer: NDArray[np.int64] | None = field(default=None, compare=False)

    @property
    def total(self) -> int:
        """Number of states reached: the order of the group or the size of the orbit if complete."""
        return sum(self.layers)

    @property
    def diameter(self) -> int:
        """The largest distance from the start.

        Raises:
            SymmetryError: if the search was not complete.
        """
        if not self.complete:
            raise SymmetryError(
                f"{self.title} was searched to distance {len(self.layers) - 1} only, so its diameter is not known; "
                "search without max_layers."
            )
        return len(self.layers) - 1

    @property
    def antipodes(self) -> NDArray[np.int64]:
        """The states at the largest distance, [states, ...].

        Raises:
            SymmetryError: if the search was not complete, or the last layer was not kept.
        """
        if self.last_layer is None:
            raise SymmetryError(
                f"The {self.layers[self.diameter]} states of the last layer were not kept by {self.method}; "
                "search with keep= at least that many."
            )
        return self.last_layer

    def save(self, path: str | Path) -> None:
        """Write the result as JSON, whole or not at all."""
        path = Path(path)
        content = asdict(self) | {"format": _FORMAT}
        content["last_layer"] = None if self.last_layer is None else self.last_layer.tolist()
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps(content), encoding="utf-8")
        partial.replace(path)

    @classmethod
    def load(cls, path: str | Path) -> "Growth":
        """Read what `save` wrote.

        Raises:
            CheckpointError: if the file is no saved growth or of a newer format.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            version = content.pop("format")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path} is no saved growth: {error!r}.") from None
        if version != _FORMAT:
            raise CheckpointError(f"{path} has format {version}, this version reads {_FORMAT}; update rankwise.")
        last = content.pop("last_layer")
        layers = tuple(content.pop("layers"))
        return cls(**content, layers=layers, last_layer=None if last is None else np.array(last, dtype=np.int64))

# SPDX-License-Identifier: Apache-2.0
"""The layers of states around one state, all of them kept as sorted keys: what paths are found and walked back through.

A new layer is every neighbor of the last one, once each, that is in no earlier layer. Where each generator's inverse is
a generator only the last two layers can hold it; otherwise all are looked through. To count states and not to keep
them, the engines take far less memory.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rankwise.errors import CapacityError
from rankwise.symmetry.cayley.families.registry import Graph
from rankwise.symmetry.cayley.keys import State, StateKeys, contained, distinct

_BATCH = 2**25  # bytes of neighbors that are looked at in one go


class Layers:
    """Layers around a state, from 0 on.

    Args:
        graph: whose generators lead from layer to layer.
        keys: of the states.
        state: in the middle.
    """

    def __init__(self, graph: Graph, keys: StateKeys, state: State) -> None:
        self.graph = graph
        self.keys = keys
        self.layers = [keys.key(state)]

    @property
    def last(self) -> NDArray[np.generic]:
        """The sorted keys of the outermost layer; empty once every state has been found."""
        return self.layers[-1]

    @property
    def bytes(self) -> int:
        """Bytes that the layers take."""
        return sum(layer.nbytes for layer in self.layers)

    def grow(self, memory: int) -> None:
        """Add a layer.

        Raises:
            CapacityError: if the layers and the work on the new one would take more than `memory` bytes.
        """
        old = self.layers[-2:] if self.graph.inverse_closed else self.layers
        found: list[NDArray[np.generic]] = [self.last[:0]]
        room = (memory - self.bytes - min(_BATCH, memory // 4)) // 4  # found, joined, sorted and kept
        for keys in self._neighbors(memory):
            for layer in old:
                keys = keys[~contained(keys, layer)]  # noqa: PLW2901  sieved layer by layer
            found.append(keys)
            if sum(part.nbytes for part in found) > room:
                found = [distinct(np.concatenate(found))]
                if found[0].nbytes > room * 3 // 4:
                    raise CapacityError(self._too_large(len(found[0]), memory))
        self.layers.append(distinct(np.concatenate(found)))

    def _neighbors(self, memory: int) -> Iterator[NDArray[np.generic]]:
        """The keys of the last layer's neighbors, batch by batch, each once in a batch."""
        each = len(self.graph.moves) * (2 * self.keys.state_bytes + 5 * self.keys.key_bytes)
        size = max(1, min(_BATCH, memory // 4) // each)
        for first in range(0, len(self.last), size):
            states = self.graph.neighbors(self.keys.unpack(self.last[first : first + size]))
            yield distinct(self.keys.pack(states.reshape(-1, *self.keys.start.shape)))

    def _too_large(self, found: int, memory: int) -> str:
        most = len(self.last) * len(self.graph.moves)
        need = self.bytes + 4 * most * self.keys.key_bytes + _BATCH
        return (
            f"Layer {len(self.layers)} of {self.graph.title} has more than {found} states, at most {most}: with what "
            f"is kept already it may need {need} bytes, allowed here are {memory}. Raise memory= or lower max_layers=."
        )

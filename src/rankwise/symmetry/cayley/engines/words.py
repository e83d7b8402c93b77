# SPDX-License-Identifier: Apache-2.0
"""Words with repeated letters, such as 0011: a letter takes the bits that the number of different letters needs."""

from math import comb, prod

import numpy as np
from numpy.typing import NDArray

from rankwise.symmetry.cayley.engines.fields import Fields
from rankwise.symmetry.cayley.engines.moving import looked_up
from rankwise.symmetry.cayley.engines.places import orbits
from rankwise.symmetry.cayley.graph import PermutationGraph


class WordPacking:
    """Letters side by side, numbered by size.

    Args:
        graph: whose states.
    """

    def __init__(self, graph: PermutationGraph) -> None:
        self.letters, self.word = np.unique(graph.start_states[0], return_inverse=True)
        self.fields = Fields.of([max(1, (len(self.letters) - 1).bit_length())] * graph.size)
        self.words = self.fields.words
        self.generators = len(graph.distinct)
        self.order: int | None = prod(_arrangements(self.word[places]) for places in orbits(graph))
        turned = np.argsort(np.array(graph.distinct, dtype=np.int64).reshape(-1, graph.size), axis=1)
        values = np.arange(len(self.letters))
        self._tables = [self.fields.tables(lambda place, to=places: (int(to[place]), values)) for places in turned]

    def start(self) -> NDArray[np.uint64]:
        """The start, [1, W]."""
        return self.fields.packed(self.word[None].astype(np.int64))

    def moved(self, states: NDArray[np.uint64], generator: int) -> NDArray[np.uint64]:
        """One generator applied to every state: [m, W] -> [m, W]."""
        return looked_up(states, *self._tables[generator])

    def unpacked(self, states: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The words, [m, W] -> [m, n]."""
        return self.letters[self.fields.unpacked(states)]


def _arrangements(letters: NDArray[np.intp]) -> int:
    """How many different words these letters make."""
    words, used = 1, 0
    for count in np.bincount(letters).tolist():
        used += count
        words *= comb(used, count)
    return words

# SPDX-License-Identifier: Apache-2.0
"""States as few 64-bit words, so that equal words are equal states: no hashes.

A group element is stored by the images of a base (images.py), a word with repeated letters by its letters (words.py), a
matrix by the entries that can change (entries.py). `packing` chooses.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rankwise.symmetry.cayley.engines.entries import EntryPacking
from rankwise.symmetry.cayley.engines.images import ImagePacking
from rankwise.symmetry.cayley.engines.words import WordPacking
from rankwise.symmetry.cayley.families.registry import Graph
from rankwise.symmetry.cayley.graph import PermutationGraph


class Packing(Protocol):
    """How the states of a graph are stored, W words each, and moved without being unpacked."""

    words: int
    """W, 64-bit words of a state."""
    generators: int
    """How many different generators there are, the identity left out."""

    @property
    def order(self) -> int | None:
        """A bound on the number of states; None if there is none."""
        ...

    def start(self) -> NDArray[np.uint64]:
        """The start, [1, W]."""
        ...

    def moved(self, states: NDArray[np.uint64], generator: int) -> NDArray[np.uint64]:
        """One generator applied to every state: [m, W] -> [m, W]. May be called by several threads at once.

        Raises:
            SymmetryError: if there is no modulus and an entry could leave 64 bits.
        """
        ...

    def unpacked(self, states: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The states as words or matrices, [m, W] -> [m, ...]."""
        ...


def packing(graph: Graph) -> Packing:
    """The packing that suits a graph's states: every graph has one.

    Args:
        graph: whose states.
    """
    if not isinstance(graph, PermutationGraph):
        return EntryPacking(graph)
    return ImagePacking(graph) if graph.is_group else WordPacking(graph)

# SPDX-License-Identifier: Apache-2.0
"""States as the numbers 0..N-1 of all N there are, so that a search needs a bit for each: perfect ranking.

Group elements: digits in a stabilizer chain (Sims, Computational methods in the study of permutation groups, 1970), for
every permutation group, signed permutations among them. Words with repeated letters: lexicographic order of all
arrangements. SL_2(p): determinant.py. Other matrices modulo m: the entries that can change as digits, which is exact
for Heisenberg groups, m^(2n-3), and leaves gaps where the determinant ties entries together.
"""

from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rankwise.symmetry.cayley.engines.chain import stabilizer_chain
from rankwise.symmetry.cayley.engines.determinant import DeterminantRanking, fits
from rankwise.symmetry.cayley.engines.entries import EntryPacking
from rankwise.symmetry.cayley.engines.images import ImagePacking
from rankwise.symmetry.cayley.engines.multinomial import arrangements_left
from rankwise.symmetry.cayley.engines.packing import Packing
from rankwise.symmetry.cayley.engines.ranks import chain_ranks, chain_states, letter_ranks, letter_states
from rankwise.symmetry.cayley.engines.words import WordPacking
from rankwise.symmetry.cayley.families.registry import Graph
from rankwise.symmetry.cayley.graph import PermutationGraph


class Ranking(Protocol):
    """Numbers for packed states."""

    @property
    def count(self) -> int:
        """N; numbers are below it."""
        ...

    @property
    def packing(self) -> Packing:
        """How the states are stored and moved."""
        ...

    def ranks(self, states: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Numbers of states, [m, W] -> [m]."""
        ...

    def states(self, ranks: NDArray[np.int64]) -> NDArray[np.uint64]:
        """States of numbers, [m] -> [m, W]."""
        ...


class ChainRanking:
    """Numbers of the elements of a permutation group.

    Args:
        graph: whose states; a group.
    """

    def __init__(self, graph: PermutationGraph) -> None:
        self.packing = ImagePacking(graph)
        self._fields = self.packing.fields.table
        levels = stabilizer_chain(graph, self.packing.base)
        size, depth = graph.size, len(levels)
        orbits = np.zeros((depth, size), dtype=np.int16)
        numbers = np.zeros((depth, size), dtype=np.int16)
        elements = np.zeros((depth, size, size), dtype=np.int16)
        inverses = np.zeros((depth, size, size), dtype=np.int16)
        for level, transversal in enumerate(levels):
            reached = list(transversal)
            orbits[level, : len(reached)] = reached
            numbers[level, reached] = np.arange(len(reached))
            elements[level, reached] = list(transversal.values())
            inverses[level, reached] = np.argsort(elements[level, reached], axis=1)
        lengths = np.array([len(transversal) for transversal in levels], dtype=np.int64)
        values, places = self.packing.numbers_and_places()
        self.count = prod(lengths.tolist())
        self._sift = (places, numbers, inverses, lengths)
        self._multiply = (values, orbits, elements, lengths)

    def ranks(self, states: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Numbers of group elements, [m, W] -> [m]."""
        return chain_ranks(states, self._fields, self._sift)

    def states(self, ranks: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Group elements of numbers, [m] -> [m, W]."""
        return chain_states(ranks, self._fields, self._multiply, self.packing.words)


class LetterRanking:
    """Numbers of words with repeated letters, in lexicographic order.

    Args:
        graph: whose states.
    """

    def __init__(self, graph: PermutationGraph) -> None:
        self.packing = WordPacking(graph)
        self._smaller, self._after = arrangements_left(np.bincount(self.packing.word).tolist())
        self._fields = self.packing.fields.table
        self.count = int(self._smaller[0, -1])

    def ranks(self, states: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Numbers of words, [m, W] -> [m]."""
        return letter_ranks(states, self._fields, self._smaller, self._after)

    def states(self, ranks: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Words of numbers, [m] -> [m, W]."""
        return letter_states(ranks, self._fields, self._smaller, self._after, self.packing.words)


class EntryRanking:
    """Numbers of matrices modulo m: the entries that can change are the digits of a number in base m.

    Args:
        packed: of the graph.
        modulus: m.
    """

    def __init__(self, packed: EntryPacking, modulus: int) -> None:
        self.packing, self._modulus = packed, modulus
        self.count = modulus ** len(packed.fields.bits)

    def ranks(self, states: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Numbers of matrices, [m, W] -> [m]."""
        ranks = np.zeros(len(states), dtype=np.int64)
        for column in self.packing.fields.unpacked(states).T:
            ranks = ranks * self._modulus + column
        return ranks

    def states(self, ranks: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Matrices of numbers, [m] -> [m, W]."""
        numbers = np.empty((len(ranks), len(self.packing.fields.bits)), dtype=np.int64)
        for column in range(numbers.shape[1] - 1, -1, -1):
            ranks, numbers[:, column] = np.divmod(ranks, self._modulus)
        return self.packing.fields.packed(numbers)


def ranking(graph: Graph) -> Ranking:
    """The ranking of a graph's states.

    Args:
        graph: permutations, words, or matrices with a modulus.
    """
    if isinstance(graph, PermutationGraph):
        return ChainRanking(graph) if graph.is_group else LetterRanking(graph)
    assert graph.modulus is not None
    packed = EntryPacking(graph)
    return (DeterminantRanking if fits(graph, packed) else EntryRanking)(packed, graph.modulus)

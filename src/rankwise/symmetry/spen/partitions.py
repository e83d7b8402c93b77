# SPDX-License-Identifier: Apache-2.0
"""Set partitions, which are the permutation-equivariant linear maps between tensors.

A linear map from tensors with k indices to tensors with l indices commutes with all permutations of the n values that
an index takes if and only if its matrix is constant on the orbits of S_n on [n]^(l + k). An orbit says which of the
l + k indices are equal, so it is a set partition of them with at most n blocks, and for n >= l + k the maps have
dimension Bell(l + k): 1, 1, 2, 5, 15, 52, 203. For each partition take the map

    y[i_1..i_l] = sum of x[j_1..j_k] over all j for which (i, j) is constant on every block;

partitions ordered from coarse to fine, these are a triangular change of the orbits' indicators and hence a basis, too.

Cut a partition into its inputs and its outputs. The blocks that lie in both are matched; t is their number. What is
left on the input side is a partition of the k indices with t of its blocks kept, the others summed: a *contraction*.
On the output side it is a partition of the l indices with t blocks kept, in the order of the matching, and the value
is repeated along the others: an *embedding*. So

    Bell(l + k) = sum over t of contractions(k, t) * embeddings(l, t)

and every map is a contraction followed by an embedding, which no n^l x n^k matrix is needed for.
Reference: Maron, Ben-Hamu, Shamir, Lipman, Invariant and equivariant graph networks, https://arxiv.org/abs/1812.09902.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations, permutations

Block = tuple[int, ...]
Partition = tuple[Block, ...]


@dataclass(frozen=True)
class Marked:
    """A partition of a tensor's indices of which some blocks are kept.

    Attributes:
        partition: the blocks, ordered by their least index.
        kept: positions of the kept blocks in `partition`, in the order in which their axes come.
    """

    partition: Partition
    kept: tuple[int, ...]

    @property
    def lost(self) -> tuple[int, ...]:
        """Positions of the other blocks, ascending."""
        return tuple(place for place in range(len(self.partition)) if place not in self.kept)


@cache
def set_partitions(size: int) -> tuple[Partition, ...]:
    """All partitions of 0..size-1, the finest first."""
    return tuple(sorted(_grown(size), key=lambda partition: (-len(partition), partition)))


@cache
def contractions(order: int, kept: int) -> tuple[Marked, ...]:
    """The partitions of `order` indices with `kept` blocks kept; the axes that stay are in ascending order."""
    return tuple(
        Marked(partition, places)
        for partition in set_partitions(order)
        for places in combinations(range(len(partition)), kept)
    )


@cache
def embeddings(order: int, kept: int) -> tuple[Marked, ...]:
    """The partitions of `order` indices with `kept` blocks kept, in every order."""
    return tuple(
        Marked(partition, places)
        for partition in set_partitions(order)
        for places in permutations(range(len(partition)), kept)
    )


def dimension(in_order: int, out_order: int) -> int:
    """Bell(in_order + out_order), the number of equivariant maps."""
    shared = range(min(in_order, out_order) + 1)
    return sum(len(contractions(in_order, kept)) * len(embeddings(out_order, kept)) for kept in shared)


def _grown(size: int) -> Iterator[Partition]:
    if size == 0:
        yield ()
        return
    for partition in _grown(size - 1):
        yield (*partition, (size - 1,))
        for place, block in enumerate(partition):
            yield (*partition[:place], (*block, size - 1), *partition[place + 1 :])

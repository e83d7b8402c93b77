# SPDX-License-Identifier: Apache-2.0
"""Sets of nodes as bit masks, and tables over all subsets of a Dynkin diagram.

Bit i of a mask stands for node i. A face count asks of each of the 2^r subsets for its neighborhood and for its
components; numpy answers for all subsets at once. Masks are 64-bit integers, which the bound on nodes keeps far from
full.
"""

from collections.abc import Iterable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rankwise.errors import CapacityError, SymmetryError
from rankwise.symmetry.weyl.roots import Matrix

MOST_NODES = 20


def mask_of(nodes: Iterable[int], size: int, what: str) -> int:
    """The bit mask of some nodes of 0..size-1.

    Raises:
        SymmetryError: if one is no node or stands twice.
    """
    mask = 0
    for node in nodes:
        if isinstance(node, bool) or not isinstance(node, int) or not 0 <= node < size:
            raise SymmetryError(f"{what}: {node!r} is no node; the nodes are the integers 0..{size - 1}.")
        if mask >> node & 1:
            raise SymmetryError(f"{what}: node {node} stands twice; name each node once.")
        mask |= 1 << node
    return mask


def nodes_of(mask: int) -> tuple[int, ...]:
    """The nodes of a bit mask, ascending."""
    return tuple(node for node in range(mask.bit_length()) if mask >> node & 1)


def neighbors(matrix: Matrix) -> tuple[int, ...]:
    """For each node the mask of the nodes it is joined to."""
    return tuple(sum(1 << j for j, entry in enumerate(row) if entry and j != i) for i, row in enumerate(matrix))


def component(around: tuple[int, ...], mask: int) -> int:
    """The connected component of the mask's lowest node."""
    reached = fresh = mask & -mask
    while fresh:
        low = fresh & -fresh
        near = around[low.bit_length() - 1] & mask & ~reached
        reached |= near
        fresh ^= low | near
    return reached


class Subsets:
    """Tables over all subsets of a diagram's nodes.

    Args:
        matrix: the generalized Cartan matrix.

    Raises:
        CapacityError: if there are too many nodes for tables of 2^r entries.
    """

    def __init__(self, matrix: Matrix) -> None:
        if len(matrix) > MOST_NODES:
            raise CapacityError(
                f"Counting faces looks at all 2^{len(matrix)} subsets of the {len(matrix)} nodes; at most {MOST_NODES} "
                "are allowed. Split the diagram: the f-polynomial of a product is the product of its factors'."
            )
        self.around = neighbors(matrix)
        self.size = 1 << len(matrix)

    @cached_property
    def hoods(self) -> NDArray[np.int64]:
        """For each subset the mask of its nodes and of all that are joined to them."""
        table = np.zeros(1, dtype=np.int64)
        for node, around in enumerate(self.around):
            table = np.concatenate([table, table | around | 1 << node])
        return table

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """The number of nodes of each subset."""
        table = np.zeros(1, dtype=np.int64)
        for _ in self.around:
            table = np.concatenate([table, table + 1])
        return table

    def touching(self, active: int) -> NDArray[np.int64]:
        """The subsets of which every component holds an active node, ascending.

        From a subset's active nodes one walks to neighbors inside it until nothing is new; all subsets walk at once.
        """
        masks = np.arange(self.size, dtype=np.int64)
        if active == self.size - 1:
            return masks
        reached, before = masks & active, None
        while before is None or not np.array_equal(reached, before):
            reached, before = masks & self.hoods[reached], reached
        return masks[reached == masks]

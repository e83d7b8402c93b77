# SPDX-License-Identifier: Apache-2.0
"""A stabilizer chain of a permutation group along a given base, by Schreier and Sims's algorithm (sympy's).

Level j holds, for each place that the stabilizer of the base letters before j takes base letter j to, one element that
does so. Every group element is a product of one element of each level in exactly one way.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankwise.symmetry.cayley.graph import PermutationGraph


def stabilizer_chain(graph: PermutationGraph, base: Sequence[int]) -> list[dict[int, NDArray[np.int64]]]:
    """The levels of the chain: for each place, the images of 0..n-1 under the element that leads there.

    Args:
        graph: its generators generate the group, acting on places: the letter at place p[i] goes to place i.
        base: places; only the identity keeps all of them.
    """
    from sympy.combinatorics import Permutation as Element  # noqa: PLC0415  an extra, needed here only
    from sympy.combinatorics import PermutationGroup  # noqa: PLC0415

    if not base:
        return []
    group: Any = PermutationGroup([Element(list(generator)) for generator in graph.distinct])
    full, strong = group.schreier_sims_incremental(base=list(base))
    assert full == list(base)
    moves = [np.array(element.array_form) for element in strong]
    levels = []
    for level, letter in enumerate(base):
        kept = [move for move in moves if all(move[earlier] == earlier for earlier in base[:level])]
        levels.append(_transversal(letter, kept, graph.size))
    return levels


def _transversal(letter: int, moves: list[NDArray[np.int64]], size: int) -> dict[int, NDArray[np.int64]]:
    """For each place of the orbit of a letter, an element that takes the letter there."""
    found = {letter: np.arange(size)}
    queue = [letter]
    for at in queue:
        for move in moves:
            to = int(move[at])
            if to not in found:
                found[to] = move[found[at]]
                queue.append(to)
    return found

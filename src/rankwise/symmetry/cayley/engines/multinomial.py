# SPDX-License-Identifier: Apache-2.0
"""How many words begin with which letter: what lexicographic numbers of words with repeated letters are summed from."""

from itertools import product
from math import factorial, prod

import numpy as np
from numpy.typing import NDArray


def arrangements_left(counts: list[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tables over the nodes, which are the numbers of letters of each kind that are still left; node 0 has all.

    Args:
        counts: letters of each kind, k kinds.

    Returns:
        How many words of a node's letters begin with a kind before this one, [nodes, k + 1]: the last column has all of
        its words; and the node after a letter of this kind, [nodes, k], 0 where there is none left.
    """
    nodes = list(product(*(range(count, -1, -1) for count in counts)))
    numbers = {node: number for number, node in enumerate(nodes)}
    smaller = np.zeros((len(nodes), len(counts) + 1), dtype=np.int64)
    after = np.zeros((len(nodes), len(counts)), dtype=np.int64)
    for number, node in enumerate(nodes):
        length = sum(node)
        words = factorial(length) // prod(map(factorial, node))
        below = 0
        for kind, left in enumerate(node):
            smaller[number, kind] = below
            if left:
                below += words * left // length  # of all words, this part begins with this kind
                after[number, kind] = numbers[(*node[:kind], left - 1, *node[kind + 1 :])]
        smaller[number, -1] = words
    return smaller, after

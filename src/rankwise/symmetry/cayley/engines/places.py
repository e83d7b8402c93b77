# SPDX-License-Identifier: Apache-2.0
"""How the generators of a permutation graph move single places and pairs of places."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from rankwise.symmetry.cayley.graph import PermutationGraph


def orbits(graph: PermutationGraph) -> list[NDArray[np.int64]]:
    """The places that generators take to one another, in ascending order; places that stay are orbits of one."""
    labels = _components(_turned(graph))
    return [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]


def followers(graph: PermutationGraph, place: int) -> dict[int, NDArray[np.int64]]:
    """The places whose image is known once the image of `place` is: its stabilizer keeps them where they are.

    Args:
        graph: with n places.
        place: the one that leads.

    Returns:
        For each such place, itself left out, the place where it is when `place` is at 0..n-1; -1 where that is never.
    """
    turned = _turned(graph)
    size = graph.size
    # Pairs (place, other) walk together; the walk of a follower meets each image of `place` once.
    images = np.full((size, size), -1, dtype=np.int64)
    images[place] = np.arange(size)
    follows = np.ones(size, dtype=np.bool_)
    reached = [place]
    for at in reached:
        for move in turned:
            to = int(move[at])
            if images[to, 0] < 0:
                images[to] = move[images[at]]
                reached.append(to)
            else:
                follows &= images[to] == move[images[at]]
    follows[place] = False
    return {int(other): images[:, other] for other in np.flatnonzero(follows)}


def _turned(graph: PermutationGraph) -> NDArray[np.int64]:
    """Where each generator takes each place's letter, [generators, n]."""
    return np.argsort(np.array(graph.distinct, dtype=np.int64).reshape(-1, graph.size), axis=1)


def _components(turned: NDArray[np.int64]) -> NDArray[np.int32]:
    size = turned.shape[1]
    sources = np.tile(np.arange(size), len(turned))
    edges = coo_array((np.ones(len(sources)), (sources, turned.ravel())), shape=(size, size))
    return connected_components(edges, directed=False)[1]

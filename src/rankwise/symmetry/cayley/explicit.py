# SPDX-License-Identifier: Apache-2.0
"""The whole graph written out, for networkx and scipy: small orbits only.

Entry (u, v) of the adjacency matrix counts the generators that lead from state u to state v. Repeated generators count
once and the identity not at all, so each row sums to the number of distinct generators, and for a graph whose
generators come with their inverses the matrix is symmetric and that number its spectral radius.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from rankwise.errors import CapacityError
from rankwise.symmetry.cayley.families.registry import Graph
from rankwise.symmetry.cayley.keys import StateKeys
from rankwise.symmetry.cayley.layers import Layers
from rankwise.symmetry.cayley.result import Limits

if TYPE_CHECKING:
    import networkx

_BATCH = 2**14  # states whose neighbors are looked up in one go


class SparseGraph(NamedTuple):
    """A graph written out.

    Attributes:
        adjacency: number of generators from state to state, [states, states].
        states: in order of their distance from the start, [states, ...].
        distances: from the start, [states].
    """

    adjacency: csr_array
    states: NDArray[np.int64]
    distances: NDArray[np.int64]


def to_sparse(graph: Graph, max_states: int = 1_000_000) -> SparseGraph:
    """The adjacency matrix of all states that can be reached from the start.

    Args:
        graph: directed or not.
        max_states: the most states to write out.

    Raises:
        CapacityError: if there are more.

    Example:
        >>> from rankwise.symmetry.cayley.families import lrx
        >>> to_sparse(lrx(4)).adjacency.shape
        (24, 24)
    """
    keys = StateKeys(graph)
    layers = Layers(graph, keys, keys.start)
    memory = Limits().memory
    while len(layers.last):
        found = sum(len(layer) for layer in layers.layers)
        if found > max_states:
            raise CapacityError(
                f"{graph.title} has at least {found} states, at most {max_states} are written out; raise max_states= "
                "or count them with a search, which keeps none."
            )
        layers.grow(memory)
    ordered = np.concatenate(layers.layers)
    distances = np.repeat(np.arange(len(layers.layers)), [len(layer) for layer in layers.layers])
    states = keys.unpack(ordered).astype(np.int64)
    sources, targets = _edges(graph, keys, ordered)
    ones = np.ones(len(sources), dtype=np.int64)
    adjacency = csr_array((ones, (sources, targets)), shape=(len(ordered), len(ordered)))
    adjacency.sum_duplicates()
    return SparseGraph(adjacency, states, distances)


def to_networkx(graph: Graph, max_states: int = 100_000) -> "networkx.Graph | networkx.DiGraph":
    """All states that can be reached from the start, as a networkx graph.

    Nodes are states as tuples (matrices as tuples of rows) with the attribute `distance` from the start; edges have the
    attribute `weight`, the number of generators that lead along them.

    Args:
        graph: one whose generators come with their inverses gives a Graph, any other a DiGraph.
        max_states: the most states to write out.

    Raises:
        CapacityError: if there are more.
    """
    import networkx as nx  # noqa: PLC0415  an extra, needed here only

    adjacency, states, distances = to_sparse(graph, max_states)
    kind = nx.Graph if graph.inverse_closed else nx.DiGraph
    written = nx.from_scipy_sparse_array(adjacency, create_using=kind)
    nx.set_node_attributes(written, dict(enumerate(distances.tolist())), "distance")
    return nx.relabel_nodes(written, {number: _hashable(state) for number, state in enumerate(states.tolist())})


def _edges(graph: Graph, keys: StateKeys, ordered: NDArray[np.generic]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the states at both ends of each edge, one edge for each distinct generator and state."""
    order = np.argsort(ordered)
    generators = _distinct(graph)
    targets = []
    for first in range(0, len(ordered), _BATCH):
        states = graph.neighbors(keys.unpack(ordered[first : first + _BATCH]))[generators]
        reached = keys.pack(states.reshape(-1, *keys.start.shape))
        targets.append(order[np.searchsorted(ordered, reached, sorter=order)].reshape(states.shape[:2]))
    every = np.concatenate(targets, axis=1)
    return np.tile(np.arange(len(ordered)), len(generators)), every.ravel()


def _distinct(graph: Graph) -> NDArray[np.int64]:
    """Numbers of the generators, the first of equal ones, without the identity."""
    moves = graph.moves
    unit = np.arange(graph.size) if moves.ndim == 2 else np.eye(graph.size, dtype=np.int64)
    _, first = np.unique(moves, axis=0, return_index=True)
    return np.sort(first[(moves[first] != unit).reshape(len(first), -1).any(axis=1)])


def _hashable(state: list) -> tuple:
    return tuple(tuple(part) if isinstance(part, list) else part for part in state)

# SPDX-License-Identifier: Apache-2.0
import networkx as nx
import numpy as np
import pytest
from scipy.sparse.linalg import eigsh

from rankwise.errors import CapacityError
from rankwise.symmetry.cayley.explicit import to_networkx, to_sparse
from rankwise.symmetry.cayley.families.shifts import lrx, lx, top_spin
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.matrices import MatrixGraph
from rankwise.symmetry.cayley.paths import shortest_path
from symmetry_search import growth_by_sets

COSETS = PermutationGraph([(1, 2, 3, 4, 0), (4, 0, 1, 2, 3), (1, 0, 2, 3, 4)], start=(0, 0, 1, 1, 1), title="coset")
MATRICES = MatrixGraph([[(1, 1), (0, 1)], [(1, -1), (0, 1)], [(1, 0), (1, 1)], [(1, 0), (-1, 1)]], 5)
GRAPHS = [
    lrx(5),
    lx(5),
    top_spin(5, 4),
    COSETS,
    MATRICES,
    PermutationGraph([(1, 2, 0), (1, 2, 0), (0, 1, 2)], title="C3"),
]


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.title)
def test_rows_sum_to_the_distinct_generators_and_lead_to_their_states(graph):
    adjacency, states, distances = to_sparse(graph)
    degree = len(np.unique(graph.moves, axis=0)) - (graph.title == "C3")
    assert (adjacency.sum(axis=1) == degree).all()
    assert (adjacency.sum(axis=0) == degree).all()
    assert np.bincount(distances).tolist() == growth_by_sets(graph)
    for number in range(0, len(states), 7):
        reached = {tuple(state.ravel()) for state in graph.neighbors(states[number : number + 1])[:, 0]}
        listed = {tuple(states[column].ravel()) for column in adjacency[[number]].tocoo().col}
        assert listed == reached - ({tuple(states[number].ravel())} if graph.title == "C3" else set())


@pytest.mark.parametrize("graph", [lrx(5), COSETS, MATRICES], ids=lambda graph: graph.title)
def test_undirected_graphs_are_symmetric_with_their_degree_as_spectral_radius(graph):
    adjacency = to_sparse(graph).adjacency
    assert (adjacency != adjacency.T).nnz == 0
    largest = eigsh(adjacency.astype(float), k=1, which="LA", return_eigenvectors=False, v0=np.ones(adjacency.shape[0]))
    assert largest[0] == pytest.approx(len(graph.generators))
    assert np.linalg.eigvalsh(adjacency.toarray())[-2] < len(graph.generators) - 0.1  # connected: it is simple


def test_directed_graphs_are_not_symmetric():
    adjacency = to_sparse(lx(4)).adjacency
    assert (adjacency != adjacency.T).nnz > 0
    assert (adjacency != to_sparse(lx(4).inverted()).adjacency).nnz > 0


@pytest.mark.parametrize("graph", GRAPHS[:-1], ids=lambda graph: graph.title)
def test_networkx_finds_our_distances(graph):
    written = to_networkx(graph)
    assert written.is_directed() != graph.inverse_closed
    lengths = nx.single_source_shortest_path_length(written, graph.start)
    assert lengths == dict(written.nodes(data="distance"))
    assert len(lengths) == sum(growth_by_sets(graph))
    for state, length in list(lengths.items())[::11]:
        assert shortest_path(graph, state).length == length
        assert sum(data["weight"] for _, _, data in written.edges(state, data=True)) == len(set(graph.generators))


def test_loops_of_cosets():
    written = to_networkx(COSETS)
    assert written[COSETS.start][COSETS.start]["weight"] == 1  # exchanging two equal letters


def test_limits():
    assert to_sparse(lrx(5), max_states=120).adjacency.shape == (120, 120)
    for write in (to_sparse, to_networkx):
        with pytest.raises(CapacityError, match="at most 119 are written out"):
            write(lrx(5), max_states=119)


def test_the_identity_alone():
    adjacency, states, _ = to_sparse(PermutationGraph([(0, 1)]))
    assert (adjacency.shape, adjacency.nnz, states.tolist()) == ((1, 1), 0, [[0, 1]])

# SPDX-License-Identifier: Apache-2.0
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.families import coxeter, lrx, lx, pancake, stars, three_cycles
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.permutations import composed, identity
from symmetry_search import growth_by_sets


@settings(deadline=None)
@given(st.lists(st.permutations(range(5)), min_size=1, max_size=3))
def test_a_search_reaches_the_group_that_schreier_and_sims_count(generators):
    graph = PermutationGraph(generators)
    assert sum(growth_by_sets(graph)) == graph.order


@settings(deadline=None)
@given(st.permutations(range(6)), st.lists(st.integers(0, 2), max_size=8))
def test_a_path_is_its_generators_composed(state, path):
    graph = lrx(6)
    word = identity(6)
    for step in path:
        word = composed(graph.generators[step], word)
    assert graph.applied(state, path) == tuple(state[place] for place in word)
    assert graph.applied(state, [graph.names[step] for step in path]) == graph.applied(state, path)


def test_neighbors_are_every_generator_on_every_state():
    graph = pancake(4)
    states = np.array([[0, 1, 2, 3], [3, 1, 0, 2]])
    found = graph.neighbors(states)
    assert found.shape == (3, 2, 4)
    for index in range(3):
        for row in range(2):
            assert tuple(found[index, row]) == graph.applied(states[row], [index])


def test_cosets_are_counted_by_their_repeated_letters():
    graph = PermutationGraph(coxeter(6).generators, start=(0, 0, 1, 1, 1, 1))
    assert not graph.is_group
    growth = growth_by_sets(graph)
    assert sum(growth) == comb(6, 2) and growth == growth[::-1] and len(growth) - 1 == 8


def test_repetitions_and_the_identity_are_no_distinct_generators():
    graph = PermutationGraph([(1, 0, 2), (0, 1, 2), (1, 0, 2), (0, 2, 1)])
    assert graph.distinct == ((1, 0, 2), (0, 2, 1))
    assert graph.inverse_closed
    assert growth_by_sets(graph) == growth_by_sets(coxeter(3))


def test_the_identity_alone_generates_nothing():
    graph = PermutationGraph([(0, 1, 2)])
    assert (graph.distinct, graph.order, graph.inverse_closed) == ((), 1, True)
    assert growth_by_sets(graph) == [1]


def test_inverted_undoes_each_step_and_counts_the_same():
    graph = lx(5)
    back = graph.inverted()
    for name in graph.names:
        assert back.applied(graph.applied(range(5), [name]), [name]) == identity(5)
    assert back.inverted().generators == graph.generators
    assert growth_by_sets(back) == growth_by_sets(graph)


def test_parity_of_the_generators():
    assert three_cycles(4).all_even and not stars(4).all_even


def test_start_states_and_moves_are_arrays():
    graph = lrx(4)
    assert graph.start_states.tolist() == [[0, 1, 2, 3]]
    assert graph.moves.dtype == np.int64 and graph.moves.shape == (3, 4)


@pytest.mark.parametrize(
    ("generators", "start", "names", "said"),
    [
        ([], None, None, "at least one generator"),
        ([(0, 1), (0, 1, 2)], None, None, r"different lengths \[2, 3\]"),
        ([(1, 0), (1, 1)], None, None, "generator 1 .*stands twice"),
        ([(0, 2)], None, None, "generator 0 .*not in 0..1"),
        ([(1, 0)], (0, 1, 2), None, "must have 2 letters"),
        ([(1, 0)], (0, -1), None, "integers from 0"),
        ([(1, 0)], (0, 0.5), None, "the start .*integers only"),
        ([(1, 0)], None, ["a", "b"], "2 names for 1 generators"),
    ],
)
def test_what_makes_no_graph_is_refused_with_the_reason(generators, start, names, said):
    with pytest.raises(SymmetryError, match=said):
        PermutationGraph(generators, start, names)


@pytest.mark.parametrize("step", ["Y", 3, -1])
def test_an_unknown_step_is_answered_with_the_names(step):
    with pytest.raises(SymmetryError, match=r"there are L, R, X, or numbers 0\.\.2"):
        lrx(4).applied(range(4), [step])


@pytest.mark.parametrize(("state", "said"), [((0, 1, 2), "4 letters"), ((0, 1, 2, 3.5), "integers only")])
def test_a_state_of_another_kind_is_refused(state, said):
    with pytest.raises(SymmetryError, match=said):
        lrx(4).applied(state, ["L"])

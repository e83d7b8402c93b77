# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise.errors import CapacityError
from rankwise.symmetry.cayley.engines.ranked import RankedEngine
from rankwise.symmetry.cayley.engines.ranking import ranking
from rankwise.symmetry.cayley.families.matrix_groups import heisenberg, special_linear_fundamental_roots
from rankwise.symmetry.cayley.families.shifts import lrx
from rankwise.symmetry.cayley.families.signed import burnt_pancake, coxeter_b, signed_reversals
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.matrices import MatrixGraph
from rankwise.symmetry.cayley.puzzles.cube import cube_fixed_half, cube_fixed_quarter
from rankwise.symmetry.cayley.result import Limits
from symmetry_search import growth_by_sets


def lrx_moves(n: int):
    graph = lrx(n)
    assert isinstance(graph, PermutationGraph)
    return graph.generators


ENGINE = RankedEngine()
LIMITS = Limits(memory=2**28)

GRAPHS = {
    "S_6": lrx(6),
    "signed": burnt_pancake(4),
    "S_3 x S_3 and a fixed place": PermutationGraph(
        [(1, 2, 0, 3, 4, 5, 6), (0, 1, 2, 4, 5, 3, 6), (1, 0, 2, 4, 3, 5, 6)]
    ),
    "binary": PermutationGraph(lrx_moves(12), start=[0] * 7 + [1] * 5),
    "three letters": PermutationGraph(lrx_moves(8), start=[7, 7, 7, 2, 2, 2, 5, 5]),
    "Heisenberg": heisenberg(4, 5),
    "SL_2": special_linear_fundamental_roots(2, 7),
    "SL_2 modulo a composite": special_linear_fundamental_roots(2, 4),
    "GL_2": MatrixGraph([[[0, 1], [1, 0]], [[1, 1], [0, 1]]], 3),
    "nothing moves": PermutationGraph([(0, 1, 2)]),
}


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_numbers_are_perfect(graph):
    numbered = ranking(graph)
    ranks = np.arange(numbered.count)
    states = numbered.states(ranks)
    assert np.array_equal(numbered.ranks(states), ranks)
    assert len(np.unique(states, axis=0)) == numbered.count
    assert np.array_equal(numbered.states(numbered.ranks(numbered.packing.start())), numbered.packing.start())


def test_there_are_as_many_numbers_as_states():
    for name in ("S_6", "signed", "S_3 x S_3 and a fixed place", "binary", "three letters", "Heisenberg", "SL_2"):
        assert ranking(GRAPHS[name]).count == ENGINE.grow(GRAPHS[name], LIMITS).total, name
    assert ranking(cube_fixed_half(2)).count == 3674160


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_growth_as_by_sets(graph):
    assert list(ENGINE.grow(graph, LIMITS).layers) == growth_by_sets(graph)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 6).flatmap(lambda n: st.lists(st.permutations(range(n)), min_size=1, max_size=3)), st.booleans())
def test_any_permutation_group_as_by_sets(generators, threaded):
    graph = PermutationGraph(generators)
    found = ENGINE.grow(graph, Limits(memory=2**28, threads=2 if threaded else 1))
    assert list(found.layers) == growth_by_sets(graph)


def test_known_growth_of_coxeter_b_and_signed_reversals():
    assert ENGINE.grow(coxeter_b(5), LIMITS).diameter == 25
    layers = ENGINE.grow(signed_reversals(4), LIMITS).layers
    assert sum(layers) == 384 and layers[1] == 10


def test_2x2x2_cube_to_distance_7():
    found = ENGINE.grow(cube_fixed_quarter(2), Limits(memory=2**28, max_layers=7))
    assert found.layers == (1, 6, 27, 120, 534, 2256, 8969, 33058)
    assert not found.complete


def test_last_layer():
    found = ENGINE.grow(lrx(5), LIMITS)
    assert len(found.antipodes) == found.layers[-1]
    for state in found.antipodes.tolist():  # the start is as far from each of them as they are from the start
        assert len(growth_by_sets(PermutationGraph(lrx_moves(5), start=state))) - 1 == found.diameter


def test_too_little_memory():
    with pytest.raises(CapacityError, match=r"bit for each of up to 720 states.*Raise memory="):
        ENGINE.grow(lrx(6), Limits(memory=1000))


def test_what_has_no_numbers_is_refused():
    assert "without a modulus" in str(ENGINE.refuses(heisenberg(3)))
    assert "more than it can number" in str(ENGINE.refuses(cube_fixed_half(3)))
    many = PermutationGraph(lrx_moves(40), start=[letter // 2 for letter in range(40)])
    assert "tables over the letters left" in str(ENGINE.refuses(many))
    assert ENGINE.refuses(GRAPHS["binary"]) is None

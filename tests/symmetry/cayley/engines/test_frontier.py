# SPDX-License-Identifier: Apache-2.0
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise.errors import CapacityError, SymmetryError
from rankwise.symmetry.cayley.engines.frontier import FrontierEngine
from rankwise.symmetry.cayley.families.matrix_groups import heisenberg, special_linear_root_weyl
from rankwise.symmetry.cayley.families.reversals import pancake
from rankwise.symmetry.cayley.families.shifts import lrx, lx
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.matrices import MatrixGraph
from rankwise.symmetry.cayley.puzzles.cube import cube_fixed_half, cube_fixed_quarter
from rankwise.symmetry.cayley.result import Limits
from symmetry_search import growth_by_sets

ENGINE = FrontierEngine()
LIMITS = Limits(memory=2**28)


def lrx_moves(n: int):
    graph = lrx(n)
    assert isinstance(graph, PermutationGraph)
    return graph.generators


def binary(n: int, ones: int) -> PermutationGraph:
    return PermutationGraph(lrx_moves(n), start=[0] * (n - ones) + [1] * ones)


@st.composite
def permutation_graphs(draw: st.DrawFn) -> PermutationGraph:
    n = draw(st.integers(2, 7))
    generators = draw(st.lists(st.permutations(range(n)), min_size=1, max_size=3))
    if draw(st.booleans()):  # both ways
        generators += [np.argsort(generator).tolist() for generator in generators]
    letters = st.lists(st.integers(0, 3), min_size=n, max_size=n)
    return PermutationGraph(generators, start=draw(st.one_of(st.none(), letters)))


@settings(deadline=None, max_examples=60)
@given(permutation_graphs())
def test_permutations_as_by_sets(graph):
    assert list(ENGINE.grow(graph, LIMITS).layers) == growth_by_sets(graph)


@st.composite
def matrix_graphs(draw: st.DrawFn) -> MatrixGraph:
    n, modulus = draw(st.sampled_from([(2, 2), (2, 5), (2, 6), (3, 2), (1, 11)]))
    entries = st.lists(st.integers(0, modulus - 1), min_size=n, max_size=n)
    matrices = st.lists(entries, min_size=n, max_size=n)
    invertible = matrices.filter(lambda rows: np.gcd(round(np.linalg.det(rows)), modulus) == 1)
    start = draw(
        st.one_of(st.none(), st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=1), min_size=n, max_size=n))
    )
    return MatrixGraph(draw(st.lists(invertible, min_size=1, max_size=2)), modulus, start=start)


@settings(deadline=None, max_examples=40)
@given(matrix_graphs())
def test_matrices_as_by_sets(graph):
    assert list(ENGINE.grow(graph, LIMITS).layers) == growth_by_sets(graph)


@pytest.mark.parametrize(
    ("graph", "depth"),
    [
        (lrx(18), 8),
        (lx(20), 9),
        (binary(70, 2), None),
        (cube_fixed_half(3), 3),
        (heisenberg(3), 7),
        (heisenberg(5, 3), 5),
    ],
    ids=["two words", "directed", "cosets of 70 letters", "3x3x3", "integers", "Heisenberg"],
)
def test_states_of_several_words_as_by_sets(graph, depth):
    found = ENGINE.grow(graph, Limits(memory=2**28, max_layers=depth))
    assert list(found.layers) == growth_by_sets(graph, depth)
    assert found.complete == (depth is None)


def test_published_growth_of_the_2x2x2_cube_in_small_batches(monkeypatch):
    monkeypatch.setattr("rankwise.symmetry.cayley.engines.frontier._BATCH", 500)
    found = ENGINE.grow(cube_fixed_quarter(2), Limits(memory=2**27, max_layers=8, threads=2))
    assert found.layers == (1, 6, 27, 120, 534, 2256, 8969, 33058, 114149)


def test_several_words_in_small_batches(monkeypatch):
    monkeypatch.setattr("rankwise.symmetry.cayley.engines.frontier._BATCH", 50)
    whole = ENGINE.grow(cube_fixed_half(3), Limits(memory=2**28, max_layers=4))
    assert whole.layers == (1, 18, 243, 3240, 43239)


def test_cosets_of_40_letters():
    found = ENGINE.grow(binary(40, 3), LIMITS)
    assert found.complete and found.total == comb(40, 3)


def test_directed_needs_no_list_of_layers():
    found = ENGINE.grow(lx(8), LIMITS)
    assert found.diameter == 35 and found.total == 40320
    assert found.memory <= ENGINE.memory(lx(8))


def test_last_layer_and_how_much_of_it():
    graph = pancake(5)
    assert isinstance(graph, PermutationGraph)
    found = ENGINE.grow(graph, LIMITS)
    assert found.antipodes.shape == (found.layers[-1], 5)
    back = [PermutationGraph(graph.generators, start=state) for state in found.antipodes.tolist()]
    for turned in back:  # the start is as far from each of them as they are from the start
        layers = growth_by_sets(turned)
        assert len(layers) - 1 == found.diameter
    assert ENGINE.grow(graph, Limits(memory=2**28, keep=1)).last_layer is None


def test_layers_are_reported():
    seen = []
    ENGINE.grow(lrx(4), Limits(memory=2**28, report=seen.append))
    assert [(layer.distance, layer.size, layer.total) for layer in seen] == [
        (0, 1, 1), (1, 3, 4), (2, 5, 9), (3, 6, 15), (4, 5, 20), (5, 3, 23), (6, 1, 24)
    ]  # fmt: skip


def test_too_little_memory_says_how_far_it_came():
    graph = lrx(9)
    whole = ENGINE.grow(graph, LIMITS)
    with pytest.raises(
        CapacityError, match=r"growth so far is 1, 3, .*Raise memory=, give disk= .* max_layers="
    ) as error:
        ENGINE.grow(graph, Limits(memory=10**5))
    said = str(error.value).split("growth so far is ")[1].split(":")[0].split(", ")
    assert tuple(map(int, said)) == whole.layers[: len(said)]


def test_memory_is_kept_to():
    for graph in (lrx(8), lx(7), binary(30, 5), special_linear_root_weyl(2, 17)):
        declared = ENGINE.memory(graph)
        for threads in (1, 2):
            assert ENGINE.grow(graph, Limits(memory=declared, threads=threads)).memory <= declared


def test_integers_without_end_stop_before_64_bits():
    doubled = MatrixGraph([[[2, 1], [1, 1]]])
    with pytest.raises(SymmetryError, match="leave 64 bits"):
        ENGINE.grow(doubled, LIMITS)

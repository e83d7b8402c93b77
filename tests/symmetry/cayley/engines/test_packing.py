# SPDX-License-Identifier: Apache-2.0
from math import comb, factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.engines.packing import packing
from rankwise.symmetry.cayley.families.matrix_groups import heisenberg, special_linear_fundamental_roots
from rankwise.symmetry.cayley.families.registry import Graph
from rankwise.symmetry.cayley.families.reversals import pancake
from rankwise.symmetry.cayley.families.shifts import lrx
from rankwise.symmetry.cayley.families.signed import burnt_pancake, coxeter_d
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.puzzles.cube import cube_fixed_half, cube_fixed_quarter
from rankwise.symmetry.cayley.puzzles.megaminx import megaminx


def lrx_moves(n: int):
    graph = lrx(n)
    assert isinstance(graph, PermutationGraph)
    return graph.generators


def binary(n: int, ones: int) -> PermutationGraph:
    return PermutationGraph(lrx_moves(n), start=[0] * (n - ones) + [1] * ones)


GRAPHS = {
    "group": lrx(6),
    "two words": lrx(19),
    "signed": burnt_pancake(5),
    "stickers": cube_fixed_quarter(2),
    "3x3x3": cube_fixed_half(3),
    "megaminx": megaminx(),
    "letters other than 0..n-1": PermutationGraph([(1, 2, 0, 3), (0, 1, 3, 2)], start=[9, 4, 7, 2]),
    "two orbits": PermutationGraph([(1, 2, 0, 4, 3, 5)]),
    "cosets": binary(70, 3),
    "three letters": PermutationGraph(lrx_moves(9), start=[5, 5, 5, 2, 2, 2, 8, 8, 8]),
    "modulo m": special_linear_fundamental_roots(3, 7),
    "unitriangular": heisenberg(4, 9),
    "column": heisenberg(3, 5),
    "integers": heisenberg(3),
    "nothing moves": PermutationGraph([(0, 1, 2)]),
}


def distinct_moves(graph: Graph) -> list[np.ndarray]:
    if isinstance(graph, PermutationGraph):
        return [np.array(generator) for generator in graph.distinct]
    eye = np.eye(graph.size, dtype=np.int64)
    return [move for move in np.unique(graph.moves, axis=0) if (move != eye).any()]


def neighbors(graph: Graph, states: np.ndarray, move: np.ndarray) -> np.ndarray:
    if isinstance(graph, PermutationGraph):
        return states[:, move]
    return move @ states if graph.modulus is None else move @ states % graph.modulus


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_moves_as_the_states_do(graph):
    packed, moves = packing(graph), distinct_moves(graph)
    rows, states = packed.start(), graph.start_states
    assert packed.generators == len(moves)
    assert rows.shape == (1, packed.words)
    assert np.array_equal(packed.unpacked(rows), states)
    for step in np.random.default_rng(0).integers(max(len(moves), 1), size=40 if moves else 0):
        rows = np.concatenate([rows[-3:], packed.moved(rows[-3:], int(step))])
        states = np.concatenate([states[-3:], neighbors(graph, states[-3:], moves[step])])
        assert np.array_equal(packed.unpacked(rows), states)


@st.composite
def permutation_graphs(draw: st.DrawFn) -> PermutationGraph:
    n = draw(st.integers(2, 6))
    generators = draw(st.lists(st.permutations(range(n)), min_size=1, max_size=3))
    letters = st.lists(st.integers(0, 4), min_size=n, max_size=n)
    return PermutationGraph(generators, start=draw(st.one_of(st.none(), letters)))


@settings(deadline=None, max_examples=60)
@given(permutation_graphs())
def test_equal_rows_are_equal_states(graph):
    packed = packing(graph)
    states, size = graph.start_states, 0
    rows = packed.start()
    while len(states) > size:
        size = len(states)
        for step, move in enumerate(distinct_moves(graph)):
            rows = np.concatenate([rows, packed.moved(rows, step)])
            states = np.concatenate([states, states[:, move]])
        states, kept = np.unique(states, axis=0, return_index=True)
        rows = rows[kept]
    assert len(np.unique(rows, axis=0)) == len(states)
    assert np.array_equal(packed.unpacked(rows), states)
    assert packed.order is not None and packed.order >= len(states)


def test_words_and_bounds():
    cases = {
        "3x3x3": (2, factorial(8) * 3**8 * factorial(12) * 2**12),
        "signed": (1, factorial(5) * 2**5),
        "two words": (2, factorial(19)),
        "cosets": (2, comb(70, 3)),
        "unitriangular": (1, 9**5),
        "integers": (3, None),
        "nothing moves": (1, 1),
    }
    for name, (words, order) in cases.items():
        packed = packing(GRAPHS[name])
        assert (packed.words, packed.order) == (words, order), name


def test_pieces_are_stored_once_and_not_by_sticker():
    assert len(packing(pancake(16)).start()[0]) == 1
    assert len(packing(coxeter_d(16)).start()[0]) == 2  # 16 signed letters of 32 places, 5 bits each
    assert packing(megaminx()).words == 5  # 20 corners and 30 edges of 60 places each, 6 bits each


def test_integers_that_leave_64_bits():
    packed = packing(heisenberg(3))
    rows = packed.start()
    rows[0] = 2**62
    with pytest.raises(SymmetryError, match="leave 64 bits"):
        for step in range(packed.generators):
            packed.moved(rows, step)

# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.keys import StateKeys, contained, distinct
from rankwise.symmetry.cayley.matrices import MatrixGraph


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_words_are_packed_in_order_and_come_back(size, letters, seed):
    generator = np.random.default_rng(seed)
    graph = PermutationGraph([range(size)], start=generator.integers(letters, size=size))
    words = np.concatenate([graph.start_states, generator.integers(max(graph.start) + 1, size=(40, size))])
    words[-1] = words[0]
    keys = StateKeys(graph)
    packed = keys.pack(words)
    assert packed.nbytes == keys.key_bytes * len(words)
    np.testing.assert_array_equal(keys.unpack(packed), words)
    assert list(map(tuple, keys.unpack(distinct(packed)).tolist())) == sorted(set(map(tuple, words.tolist())))


@pytest.mark.parametrize("modulus", [None, 2, 97, 2**31 - 1])
def test_matrices_come_back_exactly(modulus):
    graph = MatrixGraph([[(1, 1), (0, 1)]], modulus)
    top = 2**62 if modulus is None else modulus
    states = np.random.default_rng(0).integers(-top if modulus is None else 0, top, size=(50, 2, 2))
    keys = StateKeys(graph)
    np.testing.assert_array_equal(keys.unpack(keys.pack(states)), states)


def test_a_state_of_64_letters_takes_six_bits_for_each():
    assert StateKeys(PermutationGraph([range(64)])).key_bytes == 8 * 7  # ten letters in a word
    assert StateKeys(PermutationGraph([range(16)])).key_bytes == 8
    assert StateKeys(PermutationGraph([range(48)], start=[0, 1] * 24)).key_bytes == 8


def test_contained_and_distinct_are_numpys():
    for dtype in (np.uint64, "S16"):
        generator = np.random.default_rng(1)
        words = generator.integers(0, 3, size=(200, 2), dtype=np.uint64)
        keys = words[:, 0] if dtype is np.uint64 else words.astype(">u8").view("S16")[:, 0]
        ordered = distinct(keys[:20])
        np.testing.assert_array_equal(contained(keys, ordered), np.isin(keys, ordered))
        np.testing.assert_array_equal(distinct(keys), np.unique(keys))
    assert not contained(keys, keys[:0]).any()
    assert len(distinct(keys[:0])) == 0


@pytest.mark.parametrize(
    ("state", "message"),
    [((0, 1, 1), "other letters"), ((0, 1), "3 letters"), ((0, 1.5, 2), "integers only"), ((0, -1, 2), "from 0")],
)
def test_refuses_what_is_no_state(state, message):
    with pytest.raises(SymmetryError, match=message):
        StateKeys(PermutationGraph([(1, 2, 0)])).key(state)


@pytest.mark.parametrize("state", [[[1, 2]], [[1, 0], [0]], [[1.5, 0], [0, 1]], [[1], [2]]])
def test_refuses_what_is_no_matrix(state):
    with pytest.raises(SymmetryError):
        StateKeys(MatrixGraph([[(1, 1), (0, 1)]], 5)).key(state)

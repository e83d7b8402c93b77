# SPDX-License-Identifier: Apache-2.0
"""The frontier search in sorted files: the same growth in bounded memory, and it goes on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise.errors import CapacityError, CheckpointError
from rankwise.symmetry.cayley import Limits, MatrixGraph, PermutationGraph, graph
from rankwise.symmetry.cayley.engines import runs
from rankwise.symmetry.cayley.engines.runs import RunsEngine
from symmetry_search import growth_by_sets

ENGINE = RunsEngine()
TINY = 64 * runs._COPIES * 8  # room for 64 rows of one word


def words(*letters):
    return PermutationGraph(graph("lrx", len(letters)).generators, start=letters)


class Stop(Exception):
    pass


@settings(max_examples=20, deadline=None)
@given(data=st.data(), n=st.integers(2, 6))
def test_any_generators_grow_as_in_a_search_with_sets(data, n, tmp_path_factory):
    moves = data.draw(st.lists(st.permutations(range(n)), min_size=1, max_size=3))
    start = data.draw(st.lists(st.integers(0, n - 1), min_size=n, max_size=n))
    one = PermutationGraph(moves, start=start)
    limits = Limits(memory=TINY, disk=tmp_path_factory.mktemp("runs"))
    assert list(ENGINE.grow(one, limits).layers) == growth_by_sets(one)


@pytest.mark.parametrize(
    "one",
    [
        graph("lrx", 7),
        graph("lx", 6),
        words(0, 0, 0, 1, 1, 1, 2, 2),
        words(*[0] * 70, 1, 1),  # two words a state
        MatrixGraph([[[1, 1], [0, 1]], [[1, 0], [1, 1]]], modulus=5),
    ],
    ids=["group", "directed", "cosets", "two words", "matrices"],
)
def test_a_search_in_ranges_is_stopped_and_goes_on(one, tmp_path):
    expected = growth_by_sets(one)

    def report(layer):
        if layer.distance == 5:
            raise Stop

    with pytest.raises(Stop):
        ENGINE.grow(one, Limits(memory=16 * TINY, disk=tmp_path, report=report))
    (tmp_path / "run0.rows").write_bytes(b"what a killed layer leaves")
    found = ENGINE.grow(one, Limits(memory=16 * TINY, disk=tmp_path))
    assert list(found.layers) == expected
    assert found.complete
    assert len(found.antipodes) == expected[-1]
    assert len(np.unique(found.antipodes.reshape(expected[-1], -1), axis=0)) == expected[-1]
    assert list(ENGINE.grow(one, Limits(disk=tmp_path)).layers) == expected


def test_only_some_layers_can_be_asked_for(tmp_path):
    one = graph("lrx", 20)
    assert ENGINE.grow(one, Limits(disk=tmp_path, max_layers=4)).layers == (1, 3, 6, 12, 24)
    assert ENGINE.grow(one, Limits(disk=tmp_path, max_layers=6)).layers == (1, 3, 6, 12, 24, 48, 91)


def test_states_that_begin_alike_and_exceed_the_memory_are_said(tmp_path):
    with pytest.raises(CapacityError, match="begin with the same 64 bits"):
        ENGINE.grow(words(*[0] * 70, 1, 1), Limits(memory=runs._COPIES * 16 * 3, disk=tmp_path))


def test_foreign_and_damaged_folders_are_refused(tmp_path):
    ENGINE.grow(graph("lrx", 5), Limits(disk=tmp_path, max_layers=3))
    with pytest.raises(CheckpointError, match="holds the search of other generators"):
        ENGINE.grow(graph("lrx", 6), Limits(disk=tmp_path))
    (tmp_path / "layer3.rows").write_bytes(b"1234")
    with pytest.raises(CheckpointError, match=r"layer3.rows must be a file of \d+ bytes"):
        ENGINE.grow(graph("lrx", 5), Limits(disk=tmp_path))
    with pytest.raises(CapacityError, match="give a folder"):
        ENGINE.grow(graph("lrx", 5), Limits())

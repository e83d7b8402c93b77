# SPDX-License-Identifier: Apache-2.0
"""The bitmap engine against a search with sets, and against published growth."""

from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise.symmetry.cayley import Limits, PermutationGraph, graph
from rankwise.symmetry.cayley.engines import bitmap
from rankwise.symmetry.cayley.engines.bitmap import BitmapEngine
from rankwise.symmetry.cayley.engines.blocks import arrangements, block_tables
from rankwise.symmetry.cayley.engines.chunks import Chunks
from rankwise.symmetry.cayley.engines.sweep import SPARE, members, move_blocks
from rankwise.symmetry.cayley.matrices import MatrixGraph
from rankwise.symmetry.cayley.permutations import from_cycles
from symmetry_search import growth_by_sets

ENGINE = BitmapEngine()


def layers(one, threads=2, **limits):
    return list(ENGINE.grow(one, Limits(threads=threads, **limits)).layers)


@settings(max_examples=25, deadline=None)
@given(st.data(), st.integers(2, 6))
def test_any_generators_grow_as_in_a_search_with_sets(data, n):
    moves = data.draw(st.lists(st.permutations(range(n)), min_size=1, max_size=3))
    one = PermutationGraph(moves, start=data.draw(st.permutations(range(n))))
    assert layers(one) == growth_by_sets(one)


@pytest.mark.parametrize(("threads", "listed"), [(1, 2**20), (2, 2**20), (8, 2**20), (2, 1000), (1, 0), (3, 0)])
@pytest.mark.parametrize(("name", "n"), [("lrx", 9), ("top_spin", 9), ("pancake", 9), ("lx", 9), ("lx", 10)])
def test_suffix_letters_move_between_chunks(name, n, threads, listed, monkeypatch):
    monkeypatch.setattr(bitmap, "_FEW", 0)  # small layers, too, are shared by threads
    monkeypatch.setattr(bitmap, "_LISTED", listed)  # larger layers are listed for each generator anew
    found, one = layers(graph(name, n), threads), graph(name, n)
    begun = growth_by_sets(one, max_layers=5)
    assert found[: len(begun)] == begun
    assert sum(found) == one.order
    if name == "lx":
        assert len(found) - 1 == (3 * n * n - 8 * n + (9 if n % 2 else 12)) // 4


@pytest.mark.parametrize("name", ["lrx", "pancake", "top_spin", "coxeter"])  # top_spin 9 is even: half as many bits
@pytest.mark.parametrize("threads", [1, 3])
def test_pulled_layers_are_pushed_ones(name, threads, monkeypatch):
    found = []
    for unvisited in (0.0, 1.0, float("inf")):
        monkeypatch.setattr(bitmap, "_PULLED", unvisited)
        found.append(layers(graph(name, 9), threads))
    assert found[0] == found[1] == found[2]


def test_coxeter_growth_is_the_product_of_its_degrees():
    q = np.array([1], dtype=object)
    for degree in range(2, 11):
        q = np.convolve(q, np.ones(degree, dtype=object))
    assert layers(graph("coxeter", 10)) == q.tolist()


def test_even_generators_need_half_the_memory():
    even, odd = graph("top_spin", 9), graph("top_spin", 10)
    assert even.all_even
    assert not odd.all_even
    assert Chunks(even).bitmap_bytes * 2 == pytest.approx(factorial(9) / 8, rel=0.01)
    assert Chunks(odd).bitmap_bytes == factorial(10) / 8


def test_the_last_layer_is_given_as_states():
    one = PermutationGraph(graph("lrx", 9).generators, start=(8, 7, 6, 5, 4, 3, 2, 1, 0))
    result = ENGINE.grow(one, Limits())
    (farthest,) = result.antipodes.tolist()
    assert farthest == [7, 8, 0, 1, 2, 3, 4, 5, 6]  # the antipode of the identity, (1 0 8 7 6 5 4 3 2), relabeled
    assert ENGINE.grow(one, Limits(keep=0)).last_layer is None


def test_a_search_can_end_early_and_says_so():
    seen = []
    result = ENGINE.grow(graph("lrx", 9), Limits(max_layers=7, report=seen.append))
    assert result.layers == (1, 3, 6, 12, 24, 46, 85, 156)
    assert not result.complete
    assert [layer.size for layer in seen] == list(result.layers)
    assert seen[-1].total == sum(result.layers)
    assert len(result.last_layer) == 156


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_while_reporting_ends_the_search(threads):
    def report(layer):
        if layer.distance == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ENGINE.grow(graph("lrx", 9), Limits(threads=threads, report=report))


@pytest.mark.parametrize(
    ("places", "halved"),
    [
        ((0, 1), False),
        ((1, 2), False),
        ((1, 3, 2), False),
        ((0, 3, 1, 2), False),
        ((0, 1, 2), False),
        ((0, 2, 1), True),
    ],
)
def test_blocks_of_bits_move_as_single_bits_do(places, halved):
    table = block_tables(from_cycles(9, [places]), 8, halved)
    assert table.block > 0
    assert len(table.leave) == 1 + halved
    for leave in table.leave:
        one_by_one = table.enter[0, leave]
        starts = table.block_to.astype(int) * table.block
        together = starts[:, None] + np.arange(table.block)
        assert one_by_one.tolist() == together.ravel().tolist()


def test_bits_of_blocks_cross_words():
    generator = np.random.default_rng(0)
    bits = generator.integers(0, 2, 40 * 24, dtype=np.uint8)
    order = generator.permutation(40)
    expected = np.zeros_like(bits).reshape(40, 24)
    expected[order] = bits.reshape(40, 24)
    source, sink = np.packbits(bits, bitorder="little").view(np.uint64), np.zeros(15, dtype=np.uint64)
    move_blocks(source, sink, 24, order.astype(np.uint16))
    assert np.unpackbits(sink.view(np.uint8), bitorder="little").tolist() == expected.ravel().tolist()


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 2), min_size=1, max_size=5))
def test_members_are_the_set_bits_in_order(words):
    bits = np.array(words, dtype=np.uint64)
    expected = np.flatnonzero(np.unpackbits(bits.view(np.uint8), bitorder="little"))
    found = np.full(len(expected) + SPARE + 1, 7, dtype=np.uint16)
    assert members(bits, found[:-1]) == len(expected)
    assert found[: len(expected)].tolist() == expected.tolist()
    assert found[-1] == 7


def test_tables_are_bijections():
    table = block_tables((3, 9, 1, 8, 0, 5, 6, 2, 7, 4), 8, halved=False)
    codes = (table.leave[0] >> 16) * table.enter.shape[1] + (table.leave[0] & 0xFFFF)
    assert sorted(codes) == list(range(len(arrangements(8))))
    assert sorted(table.enter.ravel()) == list(range(len(arrangements(8))))


def test_what_is_no_group_of_permutations_is_refused_in_words():
    assert "matrices" in ENGINE.refuses(MatrixGraph([[[1, 1], [0, 1]]], modulus=5))
    assert "repeated letters" in ENGINE.refuses(PermutationGraph([(1, 0, 2)], start=(0, 0, 1)))
    assert "17" in ENGINE.refuses(graph("lrx", 17))
    assert ENGINE.refuses(graph("lrx", 9)) is None

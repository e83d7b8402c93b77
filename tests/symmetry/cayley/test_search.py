# SPDX-License-Identifier: Apache-2.0
"""The choice of an engine, and that all of them agree."""

import pytest

from rankwise.errors import CapacityError, SymmetryError
from rankwise.symmetry.cayley import ENGINES, Limits, PermutationGraph, choice, graph, growth
from symmetry_search import growth_by_sets

CASES = [("lrx", 7), ("lx", 7), ("coxeter", 6), ("cyclic_coxeter", 6), ("stars", 6), ("top_spin", 7), ("coxeter_b", 4),
         ("pancake", 6), ("heisenberg", 3, 5), ("tetraminx",), ("three_cycles", 5)]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_every_engine_that_takes_a_graph_finds_its_growth(case, tmp_path):
    name, *parameters = case
    one = graph(name, *parameters)
    layers = 4 if name == "tetraminx" else None
    expected = growth_by_sets(one, layers)
    searched = []
    for engine in ENGINES.values():
        if engine.refuses(one) is None and engine.memory(one) < 2**30:
            found = growth(one, engine.name, Limits(max_layers=layers, disk=tmp_path / engine.name, memory=2**31))
            assert list(found.layers) == expected, engine.name
            assert engine.name in found.method
            searched.append(engine.name)
    assert "frontier" in searched


def test_the_choice_follows_generators_memory_and_disk(tmp_path):
    small, large = Limits(memory=10**8), Limits(memory=10**10)
    assert choice(graph("coxeter", 12), small) == "closed form"
    assert choice(graph("lrx", 12), large) == "bitmap"
    assert choice(graph("lrx", 12), Limits(memory=11 * 10**7, disk=tmp_path)) == "disk"
    assert choice(graph("burnt_pancake", 6), Limits(disk=tmp_path)) == "runs"
    assert choice(graph("lrx", 20), Limits(memory=10**9, max_layers=5)) == "frontier"
    assert choice(graph("heisenberg", 3, 7), small) == "frontier"
    assert choice(graph("coxeter_b", 6), small) == "closed form"
    assert choice(graph("burnt_pancake", 6), large) == "frontier"  # 46,080 of 12! permutations: no bitmap
    assert choice(graph("three_cycles", 13), small) == "symmetry"
    assert choice(graph("cube_half", 3), Limits(max_layers=3)) == "frontier"


def test_too_little_memory_is_said_with_what_each_engine_could_need():
    with pytest.raises(CapacityError, match=r"LRX n=12 could need, by engine: bitmap 0.18\d GB.*allowed are 0.01 GB"):
        growth(graph("lrx", 12), limits=Limits(memory=10**7))
    with pytest.raises(CapacityError, match=r"needs 0.18\d GB with the engine 'bitmap'"):
        growth(graph("lrx", 12), "bitmap", Limits(memory=10**7))


def test_a_search_that_runs_out_of_memory_tells_how_far_it_came():
    with pytest.raises(CapacityError, match="The growth so far is 1, 3, 6, 12, 24, 48, 91"):
        growth(graph("lrx", 14), "frontier", Limits(memory=10**8))


def test_unknown_engines_and_graphs_an_engine_cannot_take_are_refused():
    with pytest.raises(SymmetryError, match=r"No engine 'bitmaps'. Did you mean bitmap\?"):
        growth(graph("lrx", 5), "bitmaps")
    with pytest.raises(SymmetryError, match="cannot search permutations: it searches groups"):
        growth(PermutationGraph([(1, 0)], start=(0, 0)), "bitmap")


@pytest.mark.parametrize("n", [4, 5, 6, 7, 8, 9, 10])
def test_lrx_has_diameter_n_choose_2(n):
    assert growth(graph("lrx", n)).diameter == n * (n - 1) // 2

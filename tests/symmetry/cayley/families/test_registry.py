# SPDX-License-Identifier: Apache-2.0
from importlib import import_module

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.families import families, graph
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.permutations import composed, inverse
from symmetry_search import growth_by_sets

SMALL = {
    "all_cycles": (5,),
    "all_transpositions": (5,),
    "block_interchange": (5,),
    "burnt_pancake": (3,),
    "conjugacy_classes": (5, 4),
    "consecutive_k_cycles": (5, 3),
    "coxeter": (5,),
    "coxeter_b": (3,),
    "coxeter_d": (3,),
    "cubic_pancake": (5, 1),
    "cyclic_coxeter": (5,),
    "derangements": (5,),
    "down_cycles": (5,),
    "full_reversals": (5,),
    "generalized_stars": (5, 2),
    "heisenberg": (3, 4),
    "increasing_k_cycles": (5, 3),
    "involutive_derangements": (6,),
    "koltsov3": (6, 2, 1),
    "larx": (5,),
    "lrx": (5,),
    "lsl_cycles": (5,),
    "lx": (5,),
    "pancake": (5,),
    "prefix_cycles": (5,),
    "rand_generators": (5, 2, 1),
    "rapaport_m1": (5,),
    "rapaport_m2": (5,),
    "sheveleva2": (6, 2),
    "signed_reversals": (3,),
    "special_linear_fundamental_roots": (2, 5),
    "special_linear_root_weyl": (2, 5),
    "stars": (5,),
    "three_cycles": (5,),
    "three_cycles_01i": (5,),
    "three_cycles_0ij": (5,),
    "top_spin": (5, 3),
    "transposons": (5,),
    "wrapped_k_cycles": (5, 3),
}
PERMUTING = sorted(name for name, parameters in SMALL.items() if isinstance(graph(name, *parameters), PermutationGraph))


def test_every_family_is_listed_and_exported():
    package = import_module("rankwise.symmetry.cayley.families")
    assert len(SMALL) == 39 and len(PERMUTING) == 36
    assert set(SMALL) <= set(families())
    assert set(SMALL) | {"families", "graph"} == set(package.__all__)
    assert all(getattr(package, name) is families()[name] for name in SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_every_family_says_what_it_generates_and_where_it_is_from(name):
    text = families()[name].__doc__
    assert text is not None and "Source: " in text and "Raises:" in text
    assert name == "conjugacy_classes" or "Order: " in text


@pytest.mark.parametrize("name", SMALL)
def test_every_family_is_reached_by_name_and_integers(name):
    found = graph(name.replace("_", "-"), *SMALL[name])
    assert found.title not in ("permutations", "matrices")
    assert len(set(found.names)) == len(found.names) == len(set(found.generators))


@pytest.mark.parametrize("name", PERMUTING)
def test_a_search_reaches_as_much_as_schreier_and_sims_count(name):
    found = graph(name, *SMALL[name])
    assert sum(growth_by_sets(found)) == found.order


@pytest.mark.parametrize("name", PERMUTING)
def test_layers_are_as_many_turned_round(name):
    found = graph(name, *SMALL[name])
    assert growth_by_sets(found) == growth_by_sets(found.inverted())


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(PERMUTING), st.data())
def test_growth_does_not_depend_on_labels_order_or_repetitions(name, data):
    found = graph(name, *SMALL[name])
    labels = tuple(data.draw(st.permutations(range(found.size))))
    back = inverse(labels)
    conjugated = [composed(composed(labels, generator), back) for generator in found.generators]
    repeated = data.draw(st.lists(st.sampled_from(conjugated), max_size=3))
    shuffled = data.draw(st.permutations(conjugated[:30] + repeated)) + conjugated[30:]
    assert growth_by_sets(PermutationGraph(shuffled)) == growth_by_sets(found)


def test_an_unknown_family_is_answered_with_the_nearest():
    with pytest.raises(SymmetryError, match=r"No generator family 'pancakes'\. Did you mean pancake"):
        graph("pancakes", 5)


@pytest.mark.parametrize(("name", "parameters"), [("lrx", ()), ("lrx", (4, 1, 2)), ("cubic_pancake", (5,))])
def test_a_wrong_number_of_parameters_is_answered_with_the_signature(name, parameters):
    with pytest.raises(SymmetryError, match=rf"{name} takes \(n: int"):
        graph(name, *parameters)

# SPDX-License-Identifier: Apache-2.0
from math import factorial

import pytest

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.families import cubic_pancake, full_reversals, pancake
from symmetry_search import growth_by_sets


@pytest.mark.parametrize(("n", "diameter"), [(2, 1), (3, 3), (4, 4), (5, 5), (6, 7), (7, 8)])
def test_pancake_diameters_are_the_known_ones(n, diameter):
    growth = growth_by_sets(pancake(n))
    assert (sum(growth), len(growth) - 1) == (factorial(n), diameter)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7])
def test_full_reversals_need_n_minus_one_steps(n):
    growth = growth_by_sets(full_reversals(n))
    assert (sum(growth), len(growth) - 1) == (factorial(n), n - 1)


@pytest.mark.parametrize("kind", range(1, 8))
def test_cubic_pancakes_generate_everything_unless_all_prefixes_keep_parities_apart(kind):
    for n in range(5, 10):
        lengths = [len(name) for name in cubic_pancake(n, kind).names]
        assert len(lengths) <= 3
        everything = kind in (1, 3, 7) or n % 2 == (0 if kind == 6 else 1)
        assert (cubic_pancake(n, kind).order == factorial(n)) == everything


def test_cubic_pancakes_have_the_prefixes_of_their_kind():
    third = [("R9", "R8", "R2"), ("R9", "R8", "R3"), ("R9", "R8", "R7"), ("R9", "R8", "R6")]
    third += [("R9", "R7", "R2"), ("R9", "R7", "R3"), ("R9", "R7", "R6")]
    assert [cubic_pancake(9, kind).names for kind in range(1, 8)] == third
    whole = pancake(9)
    for kind in range(1, 8):
        assert set(cubic_pancake(9, kind).generators) <= set(whole.generators)


@pytest.mark.parametrize(("kind", "diameter"), [(1, 7), (2, 8), (3, 8), (4, 7), (5, 7), (7, 7)])
def test_cubic_pancake_of_five_has_its_searched_diameter(kind, diameter):
    assert len(growth_by_sets(cubic_pancake(5, kind))) - 1 == diameter


def test_reversals_undo_themselves():
    assert all(graph.inverse_closed for graph in (pancake(6), full_reversals(6), cubic_pancake(6, 4)))
    assert pancake(5).applied([10, 11, 12, 13, 14], ["R3"]) == (12, 11, 10, 13, 14)
    assert full_reversals(5).applied([10, 11, 12, 13, 14], ["R[1..3]"]) == (10, 13, 12, 11, 14)


@pytest.mark.parametrize("build", [pancake, full_reversals])
def test_one_place_cannot_be_reversed(build):
    with pytest.raises(SymmetryError, match="n >= 2"):
        build(1)


@pytest.mark.parametrize(
    ("n", "kind", "rule"), [(6, 0, "1, 2, ..., 7"), (6, 8, "1, 2, ..., 7"), (4, 4, "n >= 5"), (2, 2, "n >= 3")]
)
def test_cubic_pancakes_refuse_other_kinds_and_too_short_prefixes(n, kind, rule):
    with pytest.raises(SymmetryError, match=rule):
        cubic_pancake(n, kind)

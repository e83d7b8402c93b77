# SPDX-License-Identifier: Apache-2.0
from math import factorial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.families.registry import graph
from rankwise.symmetry.cayley.permutations import cycles
from rankwise.symmetry.cayley.puzzles.rings import globe, hungarian_rings


@given(st.integers(3, 12), st.integers(3, 12), st.data())
def test_rings_share_two_places_at_the_gaps(left, right, data):
    left_gap, right_gap = data.draw(st.integers(1, left - 1)), data.draw(st.integers(1, right - 1))
    rings = hungarian_rings(left, right, left_gap, right_gap)
    first, second = (cycles(rings.generators[rings.index(name)])[0] for name in ("L", "R"))
    assert (len(first), len(second), rings.size) == (left, right, left + right - 2)
    assert set(first) & set(second) == {0, left_gap}
    assert (first.index(left_gap), second.index(left_gap)) == (left_gap, right_gap)
    assert rings.inverse_closed


def test_rings_generate_all_or_all_even_permutations():
    assert hungarian_rings(6, 5, 2, 2).order == factorial(9)
    assert hungarian_rings(5, 7, 2, 2).order == factorial(10) // 2  # odd cycles are even permutations
    assert hungarian_rings().size == 38


@pytest.mark.parametrize("gaps", [(0, 2), (5, 2), (2, 6)])
def test_rings_refuse_gaps_that_do_not_fit(gaps):
    with pytest.raises(SymmetryError, match="number of beads"):
        hungarian_rings(5, 6, *gaps)


def test_globe_by_hand():
    small = globe(1, 2)
    assert small.names == ("r0", "r0'", "r1", "r1'", "f0", "f1", "f2", "f3")
    assert small.applied(range(8), ["r0"])[:4] == (1, 2, 3, 0)
    assert small.applied(range(8), ["f1"]) == (0, 6, 5, 3, 4, 2, 1, 7)
    assert small.applied(range(8), ["f3"]) == (7, 1, 2, 4, 3, 5, 6, 0)


@given(st.integers(1, 5), st.integers(2, 5))
def test_globe_flips_are_their_own_inverses_and_leave_a_middle_row(a, b):
    built = globe(a, b)
    assert built.size == 2 * b * (a + 1)
    assert len(built.generators) == 2 * (a + 1) + 2 * b
    for name in built.names:
        if name.startswith("f"):
            assert built.applied(built.start, [name, name]) == built.start
            moved = {place for cycle in cycles(built.generators[built.index(name)]) for place in cycle}
            assert len(moved) == b * (a + 1 - (a + 1) % 2)
            assert {place // (2 * b) for place in moved} == {row for row in range(a + 1) if 2 * row != a}


def test_middle_row_is_a_puzzle_of_its_own():
    assert globe(2, 2).order == 4 * globe(1, 2).order  # the row of 4 turns by itself


def test_found_by_name():
    assert graph("globe", 1, 3).title == "globe 1/3"
    assert graph("hungarian-rings").size == 38


def test_globe_refuses_nothing_to_turn():
    with pytest.raises(SymmetryError, match="at least 2 rows"):
        globe(0, 3)


def test_turns_that_coincide_stand_once():
    assert hungarian_rings(2, 3, 1, 1).names == ("L", "R", "R'")
    assert globe(1, 1).names == ("r0", "r1", "f0", "f1")

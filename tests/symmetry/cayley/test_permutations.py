# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.permutations import (
    checked,
    composed,
    cycles,
    from_cycles,
    identity,
    integers,
    inverse,
    is_even,
)

pairs = st.integers(1, 9).flatmap(lambda n: st.tuples(st.permutations(range(n)), st.permutations(range(n))))


@settings(deadline=None)
@given(pairs)
def test_composition_is_one_after_the_other_on_words(pair):
    p, q = map(tuple, pair)
    word = [10 + letter for letter in range(len(p))]
    after_q = [word[place] for place in q]
    assert [word[place] for place in composed(p, q)] == [after_q[place] for place in p]


@settings(deadline=None)
@given(pairs)
def test_inverse_turns_composition_round(pair):
    p, q = map(tuple, pair)
    assert composed(p, inverse(p)) == composed(inverse(p), p) == identity(len(p))
    assert inverse(composed(p, q)) == composed(inverse(q), inverse(p))


@settings(deadline=None)
@given(pairs)
def test_cycles_give_the_permutation_back(pair):
    p = tuple(pair[0])
    assert from_cycles(len(p), cycles(p)) == p
    assert all(cycle[0] == min(cycle) and len(cycle) > 1 for cycle in cycles(p))


@settings(deadline=None)
@given(pairs)
def test_parity_is_the_sign_of_the_matrix_and_multiplies(pair):
    p, q = map(tuple, pair)
    assert is_even(p) == (np.linalg.det(np.eye(len(p))[list(p)]) > 0)
    assert is_even(composed(p, q)) == (is_even(p) == is_even(q))


def test_a_cycle_sends_each_letter_to_the_next():
    assert from_cycles(5, [(1, 3, 4)]) == (0, 3, 2, 4, 1)
    assert from_cycles(4, [(0, 1), (2, 3)]) == (1, 0, 3, 2)


def test_checked_takes_any_integers_and_gives_python_ones():
    found = checked(np.array([2, 0, 1]))
    assert found == (2, 0, 1) and all(type(letter) is int for letter in found)


@pytest.mark.parametrize(
    ("letters", "said"),
    [
        ((), "empty permutation"),
        ((0, 1, 3), "entry 2 is 3, not in 0..2"),
        ((-1, 0, 1), "entry 0 is -1"),
        ((0, 1, 1), "1 stands twice"),
        ((0, 1.5), "integers only"),
        ("01", "integers only"),
    ],
)
def test_what_is_no_permutation_is_refused_with_the_reason(letters, said):
    with pytest.raises(SymmetryError, match=rf"^turn.*{said}"):
        checked(letters, "turn")


def test_nothing_is_rounded_to_an_integer():
    with pytest.raises(SymmetryError, match=r"the start .*integers only"):
        integers([1.0, 2.0], "the start")


@pytest.mark.parametrize("chosen", [[(0, 4)], [(0, 1), (1, 2)], [(0, 0)], [(-1, 2)]])
def test_cycles_that_overlap_or_leave_the_letters_are_refused(chosen):
    with pytest.raises(SymmetryError, match=r"must be in 0\.\.3 and stand in one cycle only"):
        from_cycles(4, chosen)

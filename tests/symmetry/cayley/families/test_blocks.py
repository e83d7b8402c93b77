# SPDX-License-Identifier: Apache-2.0
from math import comb, factorial

import pytest

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.families import block_interchange, transposons
from symmetry_search import growth_by_sets


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7])
def test_transposons_sort_in_half_of_n_plus_one_steps(n):
    growth = growth_by_sets(transposons(n))
    assert (sum(growth), len(growth) - 1) == (factorial(n), (n + 2) // 2)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7])
def test_block_interchange_sorts_in_half_of_n_steps(n):
    growth = growth_by_sets(block_interchange(n))
    assert (sum(growth), len(growth) - 1) == (factorial(n), n // 2)


@pytest.mark.parametrize("n", [2, 5, 9])
def test_generators_are_as_many_as_choices_of_cuts(n):
    neighboring, any_two = transposons(n), block_interchange(n)
    assert len(neighboring.generators) == comb(n + 1, 3)
    assert len(any_two.generators) == comb(n + 1, 3) + comb(n + 1, 4)
    assert set(neighboring.generators) <= set(any_two.generators)
    assert neighboring.inverse_closed and any_two.inverse_closed


def test_blocks_keep_their_order():
    assert transposons(6).applied(range(6), ["T[1..2,3..5]"]) == (0, 3, 4, 5, 1, 2)
    assert block_interchange(6).applied(range(6), ["B[0..1,3..5]"]) == (3, 4, 5, 2, 0, 1)


@pytest.mark.parametrize("build", [transposons, block_interchange])
def test_one_place_has_no_two_blocks(build):
    with pytest.raises(SymmetryError, match="n >= 2"):
        build(1)

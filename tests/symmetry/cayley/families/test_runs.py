# SPDX-License-Identifier: Apache-2.0
from math import factorial

import pytest

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.families import (
    all_transpositions,
    consecutive_k_cycles,
    coxeter,
    cyclic_coxeter,
    down_cycles,
    prefix_cycles,
    wrapped_k_cycles,
)
from symmetry_search import growth_by_sets


@pytest.mark.parametrize("build", [consecutive_k_cycles, wrapped_k_cycles])
@pytest.mark.parametrize(("n", "k"), [(4, 3), (5, 3), (5, 4), (6, 3), (6, 4), (6, 5)])
def test_cycles_of_neighbors_generate_the_group_of_their_parity(build, n, k):
    graph = build(n, k)
    assert sum(growth_by_sets(graph)) == graph.order == factorial(n) // (1 + k % 2)
    assert len(graph.generators) == (n if build is wrapped_k_cycles else n - k + 1)
    assert not graph.inverse_closed


def test_cycles_of_two_neighbors_are_the_coxeter_generators():
    assert set(consecutive_k_cycles(6, 2).generators) == set(coxeter(6).generators)
    assert set(wrapped_k_cycles(6, 2).generators) == set(cyclic_coxeter(6).generators)


@pytest.mark.parametrize("build", [consecutive_k_cycles, wrapped_k_cycles])
def test_a_cycle_of_all_places_is_one_generator(build):
    assert growth_by_sets(build(6, 6)) == [1] * 6


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7])
def test_down_cycles_grow_like_transpositions(n):
    assert growth_by_sets(down_cycles(n)) == growth_by_sets(all_transpositions(n))


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7])
def test_prefix_cycles_count_by_their_longest_rising_tail(n):
    whole = factorial(n)
    known = [1] + [whole // factorial(n - d) - whole // factorial(n - d + 1) for d in range(1, n)]
    assert growth_by_sets(prefix_cycles(n)) == known


def test_a_letter_goes_behind_the_last_place_of_its_cycle():
    assert down_cycles(5).applied(range(5), ["(1 2 3)"]) == (0, 2, 3, 1, 4)
    assert prefix_cycles(5).applied(range(5), ["(0 1 2)"]) == (1, 2, 0, 3, 4)
    assert not down_cycles(3).inverse_closed and not prefix_cycles(3).inverse_closed


@pytest.mark.parametrize("build", [consecutive_k_cycles, wrapped_k_cycles])
@pytest.mark.parametrize("k", [1, 5])
def test_a_cycle_has_two_to_n_letters(build, k):
    with pytest.raises(SymmetryError, match="2 <= k <= n"):
        build(4, k)


@pytest.mark.parametrize("build", [down_cycles, prefix_cycles])
def test_one_letter_cannot_move(build):
    with pytest.raises(SymmetryError, match="n >= 2"):
        build(1)

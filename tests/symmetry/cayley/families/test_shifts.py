# SPDX-License-Identifier: Apache-2.0
from math import factorial, gcd

import pytest

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.families import larx, lrx, lsl_cycles, lx, top_spin
from symmetry_search import growth_by_sets


@pytest.mark.parametrize("n", [4, 5, 6, 7])
def test_lrx_reaches_everything_within_half_n_squared(n):
    growth = growth_by_sets(lrx(n))
    assert sum(growth) == factorial(n)
    assert len(growth) - 1 == n * (n - 1) // 2


@pytest.mark.parametrize(("n", "k"), [(4, 2), (5, 3), (6, 2), (6, 3), (8, 4), (9, 3)])
def test_lrx_keeps_residues_apart_that_its_transposition_does_not_mix(n, k):
    common = gcd(n, k)
    assert lrx(n, k).order == common * factorial(n // common) ** common


@pytest.mark.parametrize("n", [5, 6, 7, 8])
def test_lx_has_the_diameter_of_the_published_formula(n):
    growth = growth_by_sets(lx(n))
    assert sum(growth) == factorial(n)
    assert len(growth) - 1 == (3 * n * n - 8 * n + (9 if n % 2 else 12)) // 4


@pytest.mark.parametrize(("n", "diameter"), [(3, 3), (4, 7), (5, 10), (6, 17), (7, 22)])
def test_larx_generates_the_symmetric_group(n, diameter):
    growth = growth_by_sets(larx(n))
    assert (sum(growth), len(growth) - 1) == (factorial(n), diameter)


@pytest.mark.parametrize("n", range(4, 10))
def test_top_spin_has_the_order_of_its_parity(n):
    for k in range(2, n + 1):
        order = top_spin(n, k).order
        if k >= n - 1:
            assert order == 2 * n
        elif n % 2 == 0 and k % 2 == 1:
            assert 2 * factorial(n // 2) ** 2 % order == 0
        else:
            assert order == factorial(n) // (2 if n % 2 == 1 and k % 4 in (0, 1) else 1)


def test_top_spin_of_five_has_ten_states():
    assert growth_by_sets(top_spin(5)) == [1, 3, 4, 2]


@pytest.mark.parametrize("inverses", [True, False])
@pytest.mark.parametrize("n", [3, 4, 5, 6])
def test_long_and_shorter_cycle_generate_the_symmetric_group(n, inverses):
    graph = lsl_cycles(n, inverses)
    assert sum(growth_by_sets(graph)) == factorial(n) == graph.order
    assert graph.inverse_closed == inverses


def test_direction_is_as_defined():
    assert lrx(6).inverse_closed and top_spin(6).inverse_closed
    assert not lx(6).inverse_closed and not larx(6).inverse_closed


def test_generators_move_letters_as_named():
    assert lrx(4).applied(b"abcd", ["L"]) == tuple(b"bcda")
    assert lrx(4).applied(b"abcd", ["R"]) == tuple(b"dabc")
    assert lrx(4, 2).applied(b"abcd", ["X"]) == tuple(b"cbad")
    assert top_spin(6).applied(b"abcdef", ["X"]) == tuple(b"dcbaef")
    assert larx(4).applied(b"abcd", ["L"]) == tuple(b"acdb")
    assert lsl_cycles(4).applied(b"abcd", ["S^-1", "L"]) == tuple(b"dbca")


@pytest.mark.parametrize(
    ("build", "parameters"),
    [(lrx, (4, 0)), (lrx, (4, 4)), (lx, (1,)), (larx, (2,)), (top_spin, (3,)), (top_spin, (5, 1)), (lsl_cycles, (2,))],
)
def test_parameters_out_of_range_are_refused_with_the_range(build, parameters):
    with pytest.raises(SymmetryError, match=r"<= k|n >= "):
        build(*parameters)

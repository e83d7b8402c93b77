# SPDX-License-Identifier: Apache-2.0
from math import prod

import pytest

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.families import heisenberg, special_linear_fundamental_roots, special_linear_root_weyl
from rankwise.symmetry.cayley.matrices import exact_determinant
from symmetry_search import growth_by_sets

SPECIAL = [special_linear_fundamental_roots, special_linear_root_weyl]


@pytest.mark.parametrize(("n", "modulus"), [(3, 2), (3, 3), (3, 4), (3, 6), (4, 2), (4, 3), (5, 2)])
@pytest.mark.parametrize("inverses", [True, False])
def test_heisenberg_group_has_its_order(n, modulus, inverses):
    assert sum(growth_by_sets(heisenberg(n, modulus, inverses))) == modulus ** (2 * n - 3)


@pytest.mark.parametrize(
    ("modulus", "diameter"), [(3, 4), (5, 6), (7, 8), (8, 8), (9, 8), (10, 10), (11, 10), (13, 12)]
)
def test_heisenberg_diameter_is_linear_in_the_modulus(modulus, diameter):
    assert len(growth_by_sets(heisenberg(3, modulus))) - 1 == diameter


def test_heisenberg_group_over_the_integers_grows_polynomially():
    assert growth_by_sets(heisenberg(3), max_layers=4) == [1, 4, 12, 36, 82]


def test_heisenberg_generators_stand_in_the_top_row_and_the_last_column():
    graph = heisenberg(4)
    assert graph.names == ("x1", "x2", "y1", "y2", "x1^-1", "x2^-1", "y1^-1", "y2^-1")
    for matrix in graph.generators:
        outside = [(i, j) for i in range(4) for j in range(4) if i != j and matrix[i][j] and i != 0 and j != 3]
        assert outside == [] and exact_determinant(matrix) == 1


@pytest.mark.parametrize("build", SPECIAL)
@pytest.mark.parametrize(("n", "p"), [(2, 2), (2, 3), (2, 5), (2, 7), (3, 2), (3, 3)])
def test_special_linear_group_has_its_order(build, n, p):
    assert sum(growth_by_sets(build(n, p))) == p ** (n * (n - 1) // 2) * prod(p**i - 1 for i in range(2, n + 1))


@pytest.mark.parametrize("build", SPECIAL)
def test_special_linear_group_modulo_four_covers_the_one_modulo_two(build):
    assert sum(growth_by_sets(build(2, 4))) == 48


@pytest.mark.parametrize("build", SPECIAL)
@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_generators_have_determinant_one(build, n):
    assert {exact_determinant(matrix) for matrix in build(n).generators} == {1}


@pytest.mark.parametrize("build", [*SPECIAL, heisenberg])
@pytest.mark.parametrize("modulus", [None, 2, 3, 8])
def test_inverses_are_there_and_no_generator_twice(build, modulus):
    graph = build(3, modulus)
    assert graph.inverse_closed
    assert len(set(graph.generators)) == len(graph.generators) == len(set(graph.names))


def test_heisenberg_without_inverses_is_directed():
    graph = heisenberg(3, 5, inverses=False)
    assert graph.names == ("x1", "y1") and not graph.inverse_closed


@pytest.mark.parametrize(("build", "least"), [(heisenberg, 3), (SPECIAL[0], 2), (SPECIAL[1], 2)])
def test_too_small_matrices_are_refused(build, least):
    with pytest.raises(SymmetryError, match=rf"n >= {least}"):
        build(least - 1, 5)


@pytest.mark.parametrize("build", [*SPECIAL, heisenberg])
@pytest.mark.parametrize(("modulus", "rule"), [(1, "at least 2"), (0, "at least 2"), (2**31 + 1, "too large")])
def test_a_modulus_too_small_or_too_large_is_refused(build, modulus, rule):
    with pytest.raises(SymmetryError, match=rule):
        build(3, modulus)

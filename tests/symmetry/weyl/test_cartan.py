# SPDX-License-Identifier: Apache-2.0
import math
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest

from rankwise.errors import CapacityError, SymmetryError
from rankwise.symmetry.weyl import Cartan, CartanType
from rankwise.symmetry.weyl.classification import types

NAMES = [name for size in range(1, 10) for name in types(size)]
FINITE = [name for name in NAMES if not name.twist]
AFFINE = [name for name in NAMES if name.twist]
HYPERBOLIC = ((2, -1, 0), (-1, 2, -2), (0, -2, 2))  # A1^(1) with a node joined to one end


def determinant(rows):
    """By elimination over the rational numbers."""
    left, value = [[Fraction(entry) for entry in row] for row in rows], Fraction(1)
    for k in range(len(left)):
        pivot = next((i for i in range(k, len(left)) if left[i][k]), None)
        if pivot is None:
            return 0
        if pivot != k:
            left[k], left[pivot], value = left[pivot], left[k], -value
        value *= left[k][k]
        for i in range(k + 1, len(left)):
            factor = left[i][k] / left[k][k]
            left[i] = [a - factor * b for a, b in zip(left[i], left[k], strict=True)]
    return value


@pytest.mark.parametrize(
    ("name", "order", "roots"),
    [
        ("A1", 2, 1),
        ("A7", math.factorial(8), 28),
        ("B5", 2**5 * 120, 25),
        ("C6", 2**6 * 720, 36),
        ("D6", 2**5 * 720, 30),
        ("E6", 51_840, 36),
        ("E7", 2_903_040, 63),
        ("E8", 696_729_600, 120),
        ("F4", 1152, 24),
        ("G2", 12, 6),
    ],
)
def test_orders_and_root_counts_are_the_known_ones(name, order, roots):
    assert Cartan.of(name).order() == order
    assert len(Cartan.of(name).positive_roots()) == roots


@pytest.mark.parametrize("name", FINITE, ids=str)
def test_degrees_follow_from_the_heights_of_roots(name):
    # The number of roots of height k minus that of height k + 1 is the number of exponents k (Kostant).
    cartan = Cartan.of(name)
    heights = [sum(root) for root in cartan.positive_roots()]
    degrees = [k + 1 for k in range(1, max(heights) + 1) for _ in range(heights.count(k) - heights.count(k + 1))]
    assert cartan.degrees == tuple(degrees)
    assert cartan.order() == math.prod(degrees)


@pytest.mark.parametrize("name", NAMES, ids=str)
def test_every_diagram_is_found_again_in_any_order(name):
    rows = np.array(name.matrix)
    generator = np.random.default_rng(len(rows))
    for _ in range(3):
        order = generator.permutation(len(rows))
        (part,) = Cartan(rows[np.ix_(order, order)].tolist()).components
        assert part.type == name
        assert np.array_equal(rows[np.ix_(order, order)][np.ix_(part.nodes, part.nodes)], rows)


@pytest.mark.parametrize("name", NAMES, ids=str)
def test_finite_and_affine_types_have_the_minors_that_define_them(name):
    rows = name.matrix
    minors = [determinant([row[:k] for row in rows[:k]]) for k in range(1, len(rows))]
    assert all(minor > 0 for minor in minors)
    assert (determinant(rows) > 0) == (not name.twist)
    assert (determinant(rows) == 0) == bool(name.twist)


def test_small_matrices_are_of_the_type_that_their_minors_say():
    # Kac, proposition 4.7: finite if all principal minors are positive, affine if all proper ones are and det A = 0.
    pairs = [(0, 0)] + [(-a, -b) for a in range(1, 5) for b in range(1, 5)]
    for (a, b), (c, d), (e, f) in [(x, y, z) for x in pairs for y in pairs for z in pairs[:6]]:
        rows = [[2, a, e], [b, 2, c], [f, d, 2]]
        cartan = Cartan(rows)
        if len(cartan.components) > 1:
            continue
        proper = [4 - a * b, 4 - c * d, 4 - e * f]
        kind = cartan.components[0].kind
        assert (kind == "finite") == (min(proper) > 0 and determinant(rows) > 0), rows
        assert (kind == "affine") == (min(proper) > 0 and determinant(rows) == 0), rows


def test_the_longest_root_tells_b_from_c():
    # <alpha_i^vee, theta>: the adjoint representation of B3 is omega_2, that of C3 is 2 omega_1.
    for name, weight in (("B3", [0, 1, 0]), ("C3", [2, 0, 0]), ("G2", [0, 1]), ("F4", [1, 0, 0, 0])):
        cartan = Cartan.of(name)
        theta = np.array(cartan.positive_roots()[-1])
        assert (np.array(cartan.rows) @ theta).tolist() == weight


@pytest.mark.parametrize("name", NAMES, ids=str)
def test_the_symmetrizer_symmetrizes(name):
    cartan = Cartan.of(name)
    form = np.diag(cartan.symmetrizer) @ np.array(cartan.rows)
    assert np.array_equal(form, form.T)
    assert math.gcd(*cartan.symmetrizer) == 1


def test_a_cycle_can_have_no_symmetrizer():
    with pytest.raises(SymmetryError, match="not symmetrizable"):
        _ = Cartan([[2, -1, -2], [-1, 2, -1], [-1, -1, 2]]).symmetrizer


def test_products_and_infinite_groups():
    cartan = Cartan.of("A2", "A1~", "G2")
    assert cartan.title == "A2 x A1^(1) x G2"
    assert cartan.order() == math.inf
    assert cartan.order([0, 1, 4, 5]) == 72
    assert cartan.order([0, 3]) == 4
    assert cartan.order([]) == 1
    assert not cartan.is_finite
    assert cartan.subdiagram([4, 5]) == Cartan.of("G2")
    with pytest.raises(SymmetryError, match=r"nodes \[2, 3\] is affine"):
        cartan.positive_roots()
    with pytest.raises(SymmetryError, match="needs finite type"):
        _ = cartan.degrees


def test_hyperbolic_matrices_are_told_from_other_indefinite_ones():
    assert Cartan(HYPERBOLIC).is_hyperbolic
    assert Cartan([[2, -3], [-3, 2]]).is_hyperbolic
    assert not Cartan([[2, -3, 0], [-3, 2, -1], [0, -1, 2]]).is_hyperbolic
    assert not Cartan.of("A3").is_hyperbolic
    assert Cartan(HYPERBOLIC).components[0].kind == "indefinite"


def test_diagrams_of_thirty_nodes_have_orders():
    assert Cartan.of("A30").order() == math.factorial(31)
    with pytest.raises(CapacityError, match=r"2\^30 subsets"):
        _ = Cartan.of("A30").subsets


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        ([], "at least one row"),
        (3, "list of rows"),
        ([[2, 0], [0]], "row 1 has 1 entries"),
        ([[2, -1], [-1, 1]], r"Entry \(1, 1\) of the matrix is 1"),
        ([[2, 1], [-1, 2]], r"Entry \(0, 1\) of the matrix is 1; off the diagonal"),
        ([[2, -1], [0, 2]], r"Entry \(0, 1\) of the matrix is -1 but entry \(1, 0\) is 0"),
        ([[2, -0.5], [-1, 2]], r"Entry \(0, 1\) of the matrix is -0.5; a Cartan matrix holds integers"),
        ([[2, "a"], [-1, 2]], r"Entry \(0, 1\) of the matrix is 'a'"),
    ],
)
def test_what_is_no_cartan_matrix_is_refused_by_its_entry(matrix, said):
    with pytest.raises(SymmetryError, match=said):
        Cartan(matrix)


@pytest.mark.parametrize("name", ["E9", "A0", "B1", "D3", "X4", "", "G3", "D4^(4)", "A3^(2)", "F4^(3)", "a2", "A2^"])
def test_types_that_do_not_exist_are_refused(name):
    with pytest.raises(SymmetryError, match=r"no Cartan type .*Allowed: A1"):
        Cartan.of(name)


def test_types_are_written_as_they_are_read():
    for name in NAMES:
        assert CartanType.parse(str(name)) == name
    assert CartanType.parse("A2~") == CartanType("A", 2, 1) == CartanType.parse("A2^1")
    with pytest.raises(SymmetryError, match="infinite"):
        _ = CartanType.parse("A2~").degrees


def test_names_of_nodes_are_checked():
    for nodes, said in (([0, 3], "3 is no node"), ([0, 0], "stands twice"), ([True], "True is no node")):
        with pytest.raises(SymmetryError, match=said):
            Cartan.of("A3").order(nodes)


def test_a_cycle_of_nodes_is_affine_a():
    rows = np.array(Cartan.of("A4~").rows)
    for order in permutations(range(5)):
        assert Cartan(rows[np.ix_(order, order)].tolist()).title == "A4^(1)"

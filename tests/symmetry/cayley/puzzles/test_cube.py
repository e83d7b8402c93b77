# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from sympy.combinatorics import Permutation

from rankwise.errors import CapacityError, SymmetryError
from rankwise.symmetry.cayley.engines.frontier import FrontierEngine
from rankwise.symmetry.cayley.families.registry import families, graph
from rankwise.symmetry.cayley.puzzles.cube import cube_fixed_half, cube_fixed_quarter, cube_half, cube_quarter
from rankwise.symmetry.cayley.result import Limits
from symmetry_search import growth_by_sets

HALF = [1, 9, 54, 321, 1847, 9992, 50136, 227536, 870072, 1887748, 623800, 2644]
QUARTER = [1, 6, 27, 120, 534, 2256, 8969, 33058, 114149, 360508, 930588, 1350852, 782536, 90280, 276]
POSITIONS = 43_252_003_274_489_856_000


@pytest.mark.parametrize(
    ("cube", "order"),
    [
        (cube_fixed_quarter(2), 3_674_160),
        (cube_fixed_half(2), 3_674_160),
        (cube_quarter(2), 24 * 3_674_160),
        (cube_fixed_quarter(3), POSITIONS),
        (cube_fixed_half(3), POSITIONS),
        (cube_quarter(3), 24 * POSITIONS),
    ],
    ids=lambda value: getattr(value, "title", str(value)),
)
def test_orders_are_the_known_ones(cube, order):
    assert cube.order == order


@pytest.mark.slow
def test_order_of_the_4x4x4_cube_with_all_centers_told_apart():
    edges = centers = 620_448_401_733_239_439_360_000  # 24!
    assert cube_fixed_quarter(4).order == 3_674_160 * edges * centers // 2  # a corner's parity is the centers'


def test_number_of_moves_and_of_stickers_that_move():
    for n in range(2, 6):
        assert len(cube_quarter(n).generators) == 6 * n
        assert len(cube_half(n).generators) == 9 * n
        assert len(cube_fixed_quarter(n).generators) == 6 * (n - 1)
        assert cube_quarter(n).size == 6 * n * n
    assert cube_fixed_quarter(3).size == 48
    assert cube_fixed_quarter(2).size == 21


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_quarter_turns_have_order_four_and_half_turns_are_two_of_them(n):
    cube = cube_half(n)
    for name in cube.names:
        if name.endswith("2"):
            quarter = name[:-1]
            assert cube.applied(cube.start, [quarter, quarter]) == cube.applied(cube.start, [name])
            assert cube.applied(cube.start, [quarter, quarter + "'"]) == cube.start
            assert cube.applied(cube.start, [quarter] * 4) == cube.start != cube.applied(cube.start, [quarter] * 2)


@pytest.mark.parametrize(("word", "order"), [("R U", 105), ("R U'", 63), ("R U R' U'", 6), ("R2 U2", 6), ("F F", 2)])
def test_directions_are_those_of_the_usual_notation(word, order):
    cube = cube_fixed_half(3)
    assert Permutation(list(cube.applied(cube.start, word.split()))).order() == order


def test_middle_layer_turns_with_its_neighbor():
    cube = cube_quarter(3)
    for name, turned in (("M", "L"), ("E", "D"), ("S", "F")):
        opposite = {"L": "R'", "D": "U'", "F": "B'"}[turned]
        whole = cube.applied(
            cube.start, [name, turned, opposite]
        )  # the whole cube turns: an order of 4, no sticker stays
        assert Permutation(list(whole)).order() == 4
        assert sum(place == letter for place, letter in enumerate(whole)) == 2  # the centers of the axis


def test_first_layers_equal_the_published_ones():
    assert growth_by_sets(cube_fixed_half(2), 5) == HALF[:6]
    assert growth_by_sets(cube_fixed_quarter(2), 6) == QUARTER[:7]
    assert growth_by_sets(cube_fixed_quarter(3), 3) == [1, 12, 114, 1068]
    assert growth_by_sets(cube_fixed_half(3), 3) == [1, 18, 243, 3240]


@pytest.mark.parametrize(
    ("cube", "layers"),
    [(cube_fixed_half(2), HALF), pytest.param(cube_fixed_quarter(2), QUARTER, marks=pytest.mark.slow)],
)
def test_the_whole_2x2x2_cube(cube, layers):
    found = FrontierEngine().grow(cube, Limits(memory=2**31, threads=1))
    assert list(found.layers) == layers
    assert found.total == 3_674_160


def test_plain_colors_are_a_start_with_repeated_letters():
    cube = cube_quarter(2)
    solved = np.arange(cube.size) // 4
    assert len({cube.applied(solved, [name]) for name in cube.names}) == len(cube.names)
    assert cube.applied(solved, ["R", "L'"]) != tuple(solved)


def test_found_by_name():
    assert graph("cube-fixed-quarter", 2).names == ("R", "R'", "U", "U'", "F", "F'")
    assert {"cube_quarter", "cube_half", "cube_fixed_quarter", "cube_fixed_half"} <= set(families())


def test_one_layer_is_refused():
    with pytest.raises(SymmetryError, match="at least 2 layers"):
        cube_half(1)


def test_more_generators_than_a_list_should_hold_are_refused():
    with pytest.raises(CapacityError, match="smaller n"):
        cube_quarter(100)


def test_every_puzzle_says_its_order_and_its_source():
    puzzles = [builder for builder in families().values() if ".puzzles." in builder.__module__]
    assert len(puzzles) == 13
    for builder in puzzles:
        assert "Order: " in builder.__doc__ and "Source: " in builder.__doc__

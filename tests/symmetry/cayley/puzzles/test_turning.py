# SPDX-License-Identifier: Apache-2.0
from math import factorial

import numpy as np
import pytest
from sympy.combinatorics import Permutation as Element
from sympy.combinatorics import PermutationGroup

from rankwise.symmetry.cayley.engines.frontier import FrontierEngine
from rankwise.symmetry.cayley.families.registry import families
from rankwise.symmetry.cayley.keys import StateKeys
from rankwise.symmetry.cayley.layers import Layers
from rankwise.symmetry.cayley.permutations import cycles
from rankwise.symmetry.cayley.puzzles.corners import dino_cube, dino_cube_fixed, skewb
from rankwise.symmetry.cayley.puzzles.megaminx import megaminx, starminx
from rankwise.symmetry.cayley.puzzles.pyraminx import pyraminx, tetraminx
from rankwise.symmetry.cayley.puzzles.solids import cube, dodecahedron, tetrahedron
from rankwise.symmetry.cayley.puzzles.turning import Turn, rotation, turned
from rankwise.symmetry.cayley.result import Limits
from symmetry_search import growth_by_sets

PUZZLES = [pyraminx, tetraminx, skewb, dino_cube, dino_cube_fixed, megaminx, starminx]
TETRAMINX = [1, 8, 48, 288, 1728, 9896, 51808, 220111, 480467, 166276, 2457, 32]
DINO = [1, 16, 160, 1408, 11712, 90912, 640192, 3740838, 11138597, 4313963, 20577, 24]  # sums to 11!/2
SKEWB = [1, 8, 48, 288, 1728, 10248, 59304, 315198, 1225483, 1455856, 81028, 90]


@pytest.mark.parametrize(
    ("build", "order"),
    [
        (pyraminx, 75_582_720),
        (tetraminx, 933_120),
        (skewb, 3_149_280),
        (dino_cube, factorial(12) // 2),
        (dino_cube_fixed, 19_958_400),
        (starminx, factorial(30) // 2 * 2**29 * 3**20),
    ],
)
def test_orders(build, order):
    assert build().order == order


@pytest.mark.slow
def test_order_of_the_megaminx():
    assert megaminx().order == 100669616553523347122516032313645505168688116411019768627200000000000


def test_stickers_of_a_megaminx_piece_stay_together():
    graph = megaminx()
    for piece, size in ((range(60), 20), (range(60, 120), 30)):
        blocks = PermutationGroup(
            [Element([generator[at] - piece.start for at in piece]) for generator in graph.generators]
        )
        pieces = np.unique(blocks.minimal_block([0, _mate(graph, piece) - piece.start]))
        assert len(pieces) == size


def _mate(graph, piece):
    """Another sticker of the first sticker's piece: moved by exactly the same turns."""
    moved = (np.array(graph.generators) != np.arange(graph.size)).T
    return next(at for at in piece if at != piece.start and (moved[at] == moved[piece.start]).all())


@pytest.mark.parametrize(
    ("build", "generators", "size", "order", "stickers"),
    [
        (tetraminx, 8, 24, 3, 9),
        (skewb, 8, 27, 3, 15),
        (dino_cube, 16, 24, 3, 6),
        (megaminx, 24, 120, 5, 25),
        (starminx, 40, 120, 3, 9),
    ],
)
def test_each_turn_is_made_of_cycles_of_its_order(build, generators, size, order, stickers):
    graph = build()
    assert (len(graph.generators), graph.size) == (generators, size)
    for generator in graph.generators:
        found = cycles(generator)
        assert {len(cycle) for cycle in found} == {order}
        assert sum(len(cycle) for cycle in found) == stickers


@pytest.mark.parametrize("build", PUZZLES)
def test_prime_undoes_and_the_family_is_listed(build):
    graph = build()
    assert graph.inverse_closed
    for name in graph.names:
        if not name.endswith("'"):
            assert graph.applied(graph.start, [name, name + "'"]) == graph.start
    assert families()[build.__name__] is build


@pytest.mark.parametrize(
    ("build", "layers"), [(tetraminx, TETRAMINX[:5]), (skewb, SKEWB[:5]), (megaminx, [1, 24, 408, 6208])]
)
def test_first_layers_equal_the_published_ones(build, layers):
    assert growth_by_sets(build(), len(layers) - 1) == layers


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (tetraminx, TETRAMINX),
        pytest.param(skewb, SKEWB, marks=pytest.mark.slow),
        pytest.param(dino_cube_fixed, DINO, marks=pytest.mark.slow),
    ],
)
def test_whole_growth(build, expected):
    assert list(FrontierEngine().grow(build(), Limits(memory=2**31, threads=1)).layers) == expected


@pytest.mark.slow
def test_layers_that_paths_are_found_in_are_those_of_the_engine():
    graph = tetraminx()
    keys = StateKeys(graph)
    layers = Layers(graph, keys, keys.start)
    while len(layers.last):
        layers.grow(2**30)
    assert [len(layer) for layer in layers.layers[:-1]] == TETRAMINX


def test_tips_turn_by_themselves():
    graph = pyraminx()
    tip = graph.generators[graph.index("u")]
    assert len(cycles(tip)) == 1
    assert graph.applied(graph.start, ["u", "L", "u'", "L'"]) == graph.start
    assert graph.applied(graph.start, ["U", "L", "U'", "L'"]) != graph.start


def test_dino_cube_held_still_counts_each_position_of_the_free_one_once_for_each_rotation():
    assert dino_cube().order == 12 * dino_cube_fixed().order
    assert growth_by_sets(dino_cube_fixed(), 2) == growth_by_sets(dino_cube(), 2)  # small words tell rotations apart


@pytest.mark.parametrize(
    ("solid", "faces", "corners", "edges"), [(tetrahedron(), 4, 4, 6), (cube(), 6, 8, 12), (dodecahedron(), 12, 20, 30)]
)
def test_solids(solid, faces, corners, edges):
    assert solid.normals.shape == (faces, 3)
    assert solid.vertices.shape == (corners, 3)
    assert len(solid.edge_stickers(0.5)) == len(solid.corner_stickers(0.5)) == 2 * edges
    np.testing.assert_allclose((solid.vertices @ solid.normals.T).max(axis=0), 1)


def test_rotation_is_right_handed_and_orthogonal():
    np.testing.assert_allclose(rotation((0, 0, 2), np.pi / 2) @ (1, 0, 0), (0, 1, 0), atol=1e-15)
    matrix = rotation((1, 2, 3), 1.0)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-15)


def test_a_cut_that_is_no_symmetry_is_noticed():
    with pytest.raises(AssertionError, match="cuts are wrong"):
        turned(cube().corner_stickers(0.9), Turn((1, 0, 0), 0.5, np.pi / 3))

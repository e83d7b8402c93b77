# SPDX-License-Identifier: Apache-2.0
"""Faces against the hull that scipy computes from the generators alone (benchmarks/weyl_hull.py)."""

from functools import lru_cache
from itertools import combinations, product

import numpy as np
import pytest
import weyl_hull

from rankwise.symmetry.weyl import Cartan, HighestWeight
from symmetry.weyl.cases import INFINITE, cases, holds


def spanned(module):
    """Our faces: the set of generators on each -> dimension."""
    rows = weyl_hull.homogeneous(list(module.vertices()), list(module.rays()))
    number = {row: place for place, row in enumerate(rows)}
    assert len(number) == len(rows)
    found = {}
    for face in module.faces():
        points, rays = module.generators(face)
        mask = sum(1 << number[row] for row in weyl_hull.homogeneous(list(points), list(rays)))
        assert mask not in found
        found[mask] = face.dimension
    return found


def compare(cartan):
    count = 0
    for module in cases(cartan):
        points, rays = list(module.vertices()), list(module.rays())
        assert spanned(module) == weyl_hull.polyhedron_faces(points, rays), (module.lam, module.integrable)
        assert module.f_vector() == weyl_hull.f_vector(points, rays)
        count += 1
    return count


@pytest.mark.parametrize("name", ["A1", "A2", "B2", "C2", "G2", "A1xA1", "A1xA2"])
def test_every_face_is_a_face_of_the_computed_hull(name):
    cartan = Cartan.of(*name.split("x"))
    assert compare(cartan) == 3**cartan.rank


@pytest.mark.parametrize("name", ["A3", "B3", "C3"])
def test_every_face_is_a_face_of_the_computed_hull_in_space(name):
    assert compare(Cartan.of(name)) == 27


@pytest.mark.slow
@pytest.mark.parametrize("name", ["D4", "A1xG2"])
def test_every_face_is_a_face_of_the_computed_hull_at_length(name):
    assert compare(Cartan.of(*name.split("x"))) == 3 ** len(Cartan.of(*name.split("x")).rows)


def test_root_polytope_of_d4_against_its_computed_hull():
    module = HighestWeight(Cartan.of("D4"), (0, 1, 0, 0))
    assert spanned(module) == weyl_hull.polyhedron_faces(list(module.vertices()), [])


@pytest.mark.parametrize("name", INFINITE)
def test_infinite_types_with_a_finite_group_have_honest_polyhedra(name):
    assert compare(INFINITE[name]) >= 4


@lru_cache
def families():
    modules = [module for name in ("A3", "B3", "A1xA2") for module in cases(Cartan.of(*name.split("x")))]
    modules += [module for name in ("A2~", "hyperbolic3", "asymmetric") for module in cases(INFINITE[name])]
    return modules


@pytest.mark.parametrize("seed", range(4))
def test_inclusions_are_those_of_the_generators(seed):
    # A face contains another exactly if it contains the other's vertices and rays.
    generator = np.random.default_rng(seed)
    for module in families()[seed::4]:
        faces = list(module.faces())
        rows = {face: [set(part) for part in module.generators(face)] for face in faces}
        for i, j in generator.integers(len(faces), size=(100, 2)):
            outer, inner = faces[i], faces[j]
            inside = all(small <= large for small, large in zip(rows[inner], rows[outer], strict=True))
            assert module.contains(outer, inner) == inside, (module, outer, inner)


def matrix_of(rows, word):
    """A word's matrix on root coordinates."""
    result = np.eye(len(rows), dtype=np.int64)
    for i in word:
        step = np.eye(len(rows), dtype=np.int64)
        step[i] -= np.array(rows[i])
        result = result @ step
    return result


def test_inclusions_are_products_of_cosets():
    # Every element of B3 and every pair of standard faces, by explicit products in the group.
    cartan = Cartan.of("B3")
    words = [member.word for member in HighestWeight(cartan, (1, 1, 1)).system.reflections.orbit((1, 1, 1))]
    matrices = {word: matrix_of(cartan.rows, word) for word in words}
    element = {matrix.tobytes(): word for word, matrix in matrices.items()}
    assert len(element) == 48
    generated = {
        nodes: {
            word
            for word in words
            if set(word) <= set(nodes)  # reduced words of a parabolic subgroup use its letters only
        }
        for size in range(4)
        for nodes in combinations(range(3), size)
    }
    for lam in ((1, 1, 1), (0, 1, 0), (1, 0, 0)):
        module = HighestWeight(cartan, lam)
        standard = module.standard_faces()
        for outer, inner in product(standard, standard):
            products = {
                element[(matrices[a] @ matrices[b]).tobytes()]
                for a in generated[outer.largest]
                for b in generated[inner.largest]
            }
            for word in words:
                expected = set(inner.nodes) <= set(outer.nodes) and word in products
                assert module.contains(module.face(outer.nodes), module.face(inner.nodes, word)) == expected


@pytest.mark.parametrize("name", ["A2", "G2", "A3", "B3", "A1xA1", *INFINITE])
def test_inequalities_are_tight_exactly_on_their_facets(name):
    cartan = INFINITE.get(name) or Cartan.of(*name.split("x"))
    for module in cases(cartan):
        rows = weyl_hull.homogeneous(list(module.vertices()), list(module.rays()))
        facets = list(module.inequalities())
        body = len(module.j_min(range(cartan.rank)))
        assert len(facets) == (module.f_vector()[body - 1] if body else 0)
        for inequality in facets:
            values = {row: holds(module, inequality, row) for row in rows}
            assert min(values.values()) >= 0
            points, rays = module.generators(inequality.face)
            tight = set(weyl_hull.homogeneous(list(points), list(rays)))
            assert {row for row, value in values.items() if value == 0} == tight

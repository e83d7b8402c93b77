# SPDX-License-Identifier: Apache-2.0
from math import gcd

import pytest
import weyl_hull

from rankwise.errors import CapacityError
from rankwise.symmetry.weyl import Cartan, HighestWeight
from symmetry.weyl.cases import INFINITE, cases, holds


def heights(module, tight, direction):
    """How fast a direction leaves the facets along a face, up to scale: the direction modulo the face's own."""
    values = [holds(module, facet, (0, *direction)) for facet in tight]
    return tuple(value // max(gcd(*values), 1) for value in values)


def extreme(module, rows, cone, tight):
    """The directions from the face into the hull that lie on enough of the facets through it to span a ray."""
    found, body = set(), len(module.j_min(range(module.cartan.rank)))
    for row in rows:
        direction = tuple(c - row[0] * p for c, p in zip(row[1:], cone.point, strict=True))
        values = heights(module, tight, direction)
        on = [facet.normal for facet, value in zip(tight, values, strict=True) if value == 0]
        if any(values) and (weyl_hull.rank(on) if on else 0) == body - len(cone.lines) - 1:
            found.add(values)
    return found


@pytest.mark.parametrize("name", ["A3", "B3", "A2~", "hyperbolic3", "A1xA1"])
def test_tangent_cones_are_spanned_by_the_hull_and_bounded_by_its_facets(name):
    cartan = INFINITE.get(name) or Cartan.of(*name.split("x"))
    for module in list(cases(cartan))[::3]:
        rows = weyl_hull.homogeneous(list(module.vertices()), list(module.rays()))
        facets = list(module.inequalities())
        for face in list(module.faces())[::5]:
            cone = module.tangent_cone(face)
            assert len(cone.lines) == face.dimension == weyl_hull.rank(list(cone.lines))
            tight = [facet for facet in facets if module.contains(facet.face, face)]
            for facet in tight:
                assert holds(module, facet, (1, *cone.point)) == 0
                assert all(holds(module, facet, (0, *line)) == 0 for line in cone.lines)
                assert all(holds(module, facet, (0, *ray)) >= 0 for ray in cone.rays)
            # The other way round: of the directions from F into the hull these and no others are extreme.
            assert {heights(module, tight, ray) for ray in cone.rays} == extreme(module, rows, cone, tight)


def test_a_vertex_has_the_hull_of_a_parabolic_verma_module_as_tangent_cone():
    module = HighestWeight(Cartan.of("B3"), (0, 1, 0))
    vertex = module.face([])
    hull = module.parabolic_hull(vertex)
    assert hull.integrable == (0, 2)
    assert list(hull.vertices()) == [(0, 0, 0)]
    cone = module.tangent_cone(vertex)
    assert cone.lines == ()
    assert set(cone.rays) == set(hull.rays())


@pytest.mark.parametrize("name", ["A3", "B3", "A2~"])
def test_the_parabolic_hull_lies_between_the_hull_and_the_tangent_cone(name):
    cartan = Cartan.of(name)
    for module in list(cases(cartan))[1::4]:
        facets = list(module.inequalities())
        for standard in module.standard_faces():
            face = module.face(standard.nodes)
            hull = module.parabolic_hull(face)
            rows = weyl_hull.homogeneous(list(module.vertices()), list(module.rays()))
            larger = weyl_hull.homogeneous(list(hull.vertices()), list(hull.rays()))
            assert all(holds(hull, bound, row) >= 0 for bound in hull.inequalities() for row in rows)
            tight = [facet for facet in facets if module.contains(facet.face, face)]
            assert all(holds(module, facet, row) >= 0 for facet in tight for row in larger)


def test_tangent_cones_with_infinitely_many_rays_are_listed_to_a_length():
    # Along the vertex the affine A1 on the nodes 0 and 1 acts on the third root.
    module = HighestWeight(Cartan([[2, -2, 0], [-2, 2, -1], [0, -1, 2]]), (0, 0, 1))
    vertex = module.face([])
    with pytest.raises(CapacityError, match=r"reflections of \(0, 1\) .* infinitely many rays; give max_length"):
        module.tangent_cone(vertex)
    assert module.tangent_cone(vertex, max_length=3).rays == ((0, 0, 1), (0, 1, 1), (2, 1, 1), (2, 4, 1))

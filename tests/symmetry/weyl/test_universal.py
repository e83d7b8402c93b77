# SPDX-License-Identifier: Apache-2.0
from collections import Counter
from itertools import combinations

import pytest
import weyl_hull

from rankwise.errors import CapacityError, SymmetryError
from rankwise.symmetry.weyl import Cartan, HighestWeight, UniversalWeyl

INF = float("inf")


def subsets(rank):
    return [nodes for size in range(rank + 1) for nodes in combinations(range(rank), size)]


def labels(rows, lam, drop):
    """<alpha_i^vee, lam - sum drop_j alpha_j>."""
    return [a - sum(x * y for x, y in zip(row, drop, strict=True)) for a, row in zip(lam, rows, strict=True)]


def generators(cartan, nodes):
    """Generators of P_J modulo its lines: (x_k - [k not in J] lam_k; lam_j, j in J), in fundamental weights."""
    rows, rank = cartan.rows, cartan.rank
    found = []
    for j in nodes:
        omega = [int(i == j) for i in range(rank)]
        for drop in HighestWeight(cartan, omega, nodes).vertices():
            found.append((*labels(rows, omega, drop), *(int(k == j) for k in nodes)))
    zero = [0] * rank
    for ray in HighestWeight(cartan, zero, nodes).rays():
        found.append((*labels(rows, zero, ray), *(0 for _ in nodes)))
    return found


def by_hull(cartan, nodes):
    """Faces of the computed cone by dimension, the apex or space of lines included."""
    rows = generators(cartan, nodes)
    lines = cartan.rank - len(nodes)
    counts = Counter(size + lines for size in weyl_hull.cone_faces(rows).values())
    counts[lines] += 1
    return tuple(counts[size] for size in range(2 * cartan.rank + 1)), weyl_hull.cone_faces(rows)


@pytest.mark.parametrize(
    ("name", "nodes", "counts"),
    [
        ("A1", [0], (1, 2, 1)),
        ("A2", [0, 1], (1, 6, 12, 8, 1)),
        ("B2", [0, 1], (1, 8, 16, 10, 1)),
        ("G2", [0, 1], (1, 12, 24, 14, 1)),
        ("A3", [0, 1, 2], (1, 14, 60, 100, 69, 17, 1)),
        ("A2", [0], (0, 1, 4, 4, 1)),
    ],
)
def test_known_face_counts(name, nodes, counts):
    assert UniversalWeyl(Cartan.of(name), nodes).f_vector() == counts


@pytest.mark.parametrize("name", ["A1", "A2", "B2", "G2", "A3", "B3"])
def test_faces_are_those_of_the_computed_cone(name):
    cartan = Cartan.of(name)
    for nodes in subsets(cartan.rank):
        assert UniversalWeyl(cartan, nodes).f_vector() == by_hull(cartan, nodes)[0]


@pytest.mark.parametrize(("name", "nodes"), [("A1", [0]), ("A2", [0, 1]), ("A2", [1]), ("B2", [0, 1]), ("G2", [0])])
def test_inclusions_are_those_of_the_computed_cone(name, nodes):
    cartan = Cartan.of(name)
    cone = UniversalWeyl(cartan, nodes)
    faces = list(cone.faces())
    ours = Counter((a.dimension, b.dimension) for a in faces for b in faces if cone.contains(a, b))
    lines = cone.lineality
    theirs = {0: lines, **{mask: size + lines for mask, size in by_hull(cartan, nodes)[1].items()}}
    assert len(theirs) == len(faces)
    assert ours == Counter((theirs[a], theirs[b]) for a in theirs for b in theirs if a & b == b)
    # Containing the same faces is being the same face.
    below = [frozenset(k for k, b in enumerate(faces) if cone.contains(a, b)) for a in faces]
    assert len(set(below)) == len(faces)


@pytest.mark.parametrize("name", ["A2", "C3", "D4", "A2~", "A1xA2"])
def test_fibres_add_up_to_the_cone(name):
    cartan = Cartan.of(*name.split("x"))
    rank = cartan.rank
    for nodes in subsets(rank)[:: 1 if rank < 4 else 3]:
        cone = UniversalWeyl(cartan, nodes)
        total = [0] * (2 * rank + 1)
        for zeros in subsets(rank):
            if not set(zeros) <= set(nodes):
                continue
            lam = [0 if i in zeros else 2 if i in nodes else -1 for i in range(rank)]
            fibre = cone.fibre(lam)
            assert fibre.f_vector() == HighestWeight(cartan, lam, nodes).f_vector() == cone.stratum(zeros).f_vector()
            for size, count in enumerate(fibre.f_vector()):
                total[size + rank - len(zeros)] += count
        counts = cone.f_vector()
        assert counts == tuple(total)
        if INF not in counts:
            listed = Counter(face.dimension for face in cone.faces())
            assert tuple(listed[size] for size in range(2 * rank + 1)) == counts
            assert sum((-1) ** size * count for size, count in enumerate(counts)) == 0  # a cone, its apex included


def test_a_face_degenerates_as_the_weight_becomes_singular():
    cone = UniversalWeyl(Cartan.of("A2"), [0, 1])
    edge = cone.face([], [0])
    assert cone.contains(edge, cone.face([0], []))  # over lam_0 = 0 the edge of node 0 is the vertex
    assert cone.contains(edge, cone.face([1], [0]))
    assert not cone.contains(cone.face([1], [0]), edge)
    assert cone.face([0], [0]) == cone.face([0], [], [0])
    assert edge.dimension == 3


def test_what_does_not_fit_is_refused():
    with pytest.raises(SymmetryError, match="3 is no node"):
        UniversalWeyl(Cartan.of("A3"), [3])
    cone = UniversalWeyl(Cartan.of("A3"), [0, 1])
    with pytest.raises(SymmetryError, match=r"zeros: 2 is not in J = \(0, 1\)"):
        cone.face([2], [])
    with pytest.raises(SymmetryError, match="Node 1 cannot be integrable"):
        cone.fibre((1, -1, 0))
    with pytest.raises(SymmetryError, match="infinite group; give max_length"):
        UniversalWeyl(Cartan.of("A1~"), [0, 1]).faces()
    with pytest.raises(CapacityError, match="too many sets"):
        UniversalWeyl(Cartan.of("A13"), range(13)).f_vector()
    assert UniversalWeyl(Cartan.of("A1~"), [0, 1]).f_vector()[0] == 1
    listed = list(UniversalWeyl(Cartan.of("A1~"), [0, 1]).faces(max_length=2))
    assert len(listed) == 1 + 2 * (3 + 3 + 1) + (5 + 3 + 3 + 1)  # stratum by stratum

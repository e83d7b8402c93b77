# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from rankwise.errors import SymmetryError
from rankwise.symmetry.weyl import Cartan, HighestWeight
from rankwise.symmetry.weyl.diagram import draw_weights
from rankwise.symmetry.weyl.picture import Placement
from rankwise.symmetry.weyl.plot import draw_polytope


@pytest.mark.parametrize("name", ["A2", "B2", "G2", "A3", "B3", "C3"])
def test_finite_types_are_drawn_with_their_true_shape(name):
    module = HighestWeight(Cartan.of(name), range(1, Cartan.of(name).rank + 1))
    place = Placement(module)
    points = place.points(module.vertices())
    assert np.allclose(points.mean(0), 0)  # the group's fixed point
    assert np.allclose(np.linalg.norm(points, axis=1), np.linalg.norm(points[0]))
    gram = place.roots @ place.roots.T
    assert np.allclose(2 * gram / np.diag(gram)[:, None], module.cartan.rows)


def test_other_types_are_drawn_in_root_coordinates():
    module = HighestWeight(Cartan.of("A2~"), (1, 0, 0), [0, 1])
    assert Placement(module).points([(0, 0, 0), (1, 2, 3)]).tolist() == [[0, 0, 0], [-1, -2, -3]]


def test_a_page_of_a_polytope_needs_no_network(tmp_path):
    path = tmp_path / "b3.html"
    draw_polytope(HighestWeight(Cartan.of("B3"), (1, 1, 1)), path)
    page = path.read_text()
    assert len(page) > 1_000_000  # plotly's script is inside
    assert "<script src=" not in page
    for orbit in ("nodes 0, 1: 8 faces", "nodes 0, 2: 12 faces", "nodes 1, 2: 6 faces"):
        assert orbit in page
    assert "48, 72, 26, 1 faces of dimension 0, 1, 2, 3" in page


@pytest.mark.parametrize(
    ("name", "lam", "nodes", "orbits"),
    [
        ("A3", (1, 0, 2), [0, 1], ["nodes 0, 1: 1 face", "nodes 0, 2: 3 faces", "nodes 1, 2: 3 faces"]),
        ("A2~", (0, 0, 1), [0, 1], ["nodes 0, 2: 3 faces", "nodes 1, 2: 3 faces"]),
        ("A3", (Fraction(1, 2), 0, 1), None, ["nodes 0, 1"]),
        ("A2xA1", (1, 1, 0), None, ["nodes 0, 1: 1 face"]),
        ("A3", (0, 0, 0), None, []),
    ],
)
def test_hulls_without_end_and_flat_ones_are_drawn(name, lam, nodes, orbits, tmp_path):
    path = tmp_path / "hull.html"
    draw_polytope(HighestWeight(Cartan.of(*name.split("x")), lam, nodes), path)
    page = path.read_text()
    assert all(orbit in page for orbit in orbits)
    assert ("nodes" in page.rpartition("Plotly.newPlot")[2]) == bool(orbits)


@pytest.mark.parametrize(
    ("name", "lam", "nodes"),
    [("A2", (2, 1), None), ("G2", (4, 4), None), ("A2", (1, 3), [1]), ("A1~", (1, 0), None), ("B2", (0, 0), None)],
)
def test_weight_diagrams_are_pictures(name, lam, nodes, tmp_path):
    path = tmp_path / "weights.png"
    draw_weights(HighestWeight(Cartan.of(name), lam, nodes, parabolic_verma=True), path)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10  # not empty


def test_other_ranks_and_endless_faces_are_refused(tmp_path):
    with pytest.raises(SymmetryError, match="rank 3, but D4 has 4"):
        draw_polytope(HighestWeight(Cartan.of("D4"), (1, 0, 0, 0)), tmp_path / "a.html")
    with pytest.raises(SymmetryError, match="rank 2, but A3 has 3"):
        draw_weights(HighestWeight(Cartan.of("A3"), (1, 0, 0)), tmp_path / "a.png")
    with pytest.raises(SymmetryError, match=r"infinitely many faces, because the reflections of \(0, 1, 2\)"):
        draw_polytope(HighestWeight(Cartan.of("A2~"), (1, 0, 0)), tmp_path / "a.html")
    with pytest.raises(SymmetryError, match="not determined"):
        draw_weights(HighestWeight(Cartan.of("A2"), (1, 0), [0]), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())

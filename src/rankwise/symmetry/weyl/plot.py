# SPDX-License-Identifier: Apache-2.0
"""An interactive picture of a hull of rank 3: faces colored by their orbit under the Weyl group.

The page holds everything it needs, plotly's script included, so that it opens without a network. A face without end is
drawn to a finite length.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from plotly import graph_objects
from plotly.colors import qualitative
from scipy.spatial import ConvexHull

from rankwise.errors import SymmetryError
from rankwise.symmetry.weyl.faces import Face
from rankwise.symmetry.weyl.highest_weight import HighestWeight
from rankwise.symmetry.weyl.picture import Placement

_FLAT, _LENGTH = 2, 1.2


def draw_polytope(module: HighestWeight, path: Path) -> None:
    """Draw the hull of a module of rank 3 into an HTML file.

    Args:
        module: any, of rank 3 and with finitely many faces.
        path: of the page.

    Raises:
        SymmetryError: if the rank is not 3, or there is no end of faces.
    """
    if module.cartan.rank != 3:
        raise SymmetryError(f"A polytope is drawn for rank 3, but {module.cartan.title} has {module.cartan.rank}.")
    if float("inf") in module.f_vector():
        raise SymmetryError(
            f"The hull has infinitely many faces, because the reflections of {module.integrable} move it without end; "
            "draw a module of which fewer nodes are integrable."
        )
    figure = graph_objects.Figure(list(_traces(module)))
    hidden = {"visible": False}
    lam = ", ".join(map(str, module.lam))
    faces = ", ".join(map(str, module.f_vector()))
    figure.update_layout(
        title=f"{module.cartan.title}, highest weight ({lam}): {faces} faces of dimension 0, 1, 2, 3",
        scene={"xaxis": hidden, "yaxis": hidden, "zaxis": hidden, "aspectmode": "data"},
        margin={"l": 0, "r": 0, "b": 0, "t": 60},
        legend={"title": "orbits of faces"},
    )
    figure.write_html(path, include_plotlyjs=True)


def _traces(module: HighestWeight) -> Iterator[graph_objects.Mesh3d | graph_objects.Scatter3d]:
    place = Placement(module)
    vertices = list(module.vertices())
    points = place.points(vertices)
    reach = _LENGTH * max(float(np.ptp(points, axis=0).max()), float(np.linalg.norm(place.roots, axis=1).max()))
    faces = list(module.faces(_FLAT))
    orbits = sorted({face.nodes for face in faces})
    for nodes, color in zip(orbits, qualitative.Set2, strict=False):
        yield _orbit([_corners(module, face, place, reach) for face in faces if face.nodes == nodes], nodes, color)
    lines: list[list[float | None]] = []
    for face in module.faces(1):
        lines += [*_corners(module, face, place, reach).tolist(), [None] * 3]
    if lines:
        x, y, z = zip(*lines, strict=True)
        yield graph_objects.Scatter3d(
            x=x, y=y, z=z, mode="lines", line={"color": "#333", "width": 4}, name="edges", hoverinfo="skip"
        )
    x, y, z = points.T
    names = [f"lam - c, c = {vertex}" for vertex in vertices]
    yield graph_objects.Scatter3d(
        x=x,
        y=y,
        z=z,
        mode="markers",
        marker={"size": 4, "color": "#111"},
        text=names,
        hoverinfo="text",
        name="vertices",
    )


def _corners(module: HighestWeight, face: Face, place: Placement, reach: float) -> NDArray[np.float64]:
    """The corners of what is drawn of a face, in order around it."""
    points, rays = module.generators(face)
    corners = place.spanned(place.points(points), place.directions(rays), reach)
    if face.dimension < _FLAT:
        return corners
    centered = corners - corners.mean(0)
    flat = centered @ np.linalg.svd(centered, full_matrices=False)[2][:_FLAT].T
    return corners[ConvexHull(flat).vertices]


def _orbit(polygons: list[NDArray[np.float64]], nodes: tuple[int, ...], color: str) -> graph_objects.Mesh3d:
    """All faces of an orbit, each cut into triangles from its first corner."""
    starts = np.cumsum([0, *map(len, polygons)])
    triangles = [
        (start, start + step, start + step + 1)
        for start, polygon in zip(starts, polygons, strict=False)
        for step in range(1, len(polygon) - 1)
    ]
    (x, y, z), (i, j, k) = np.concatenate(polygons).T, zip(*triangles, strict=True)
    return graph_objects.Mesh3d(
        x=x, y=y, z=z, i=i, j=j, k=k, color=color, flatshading=True, showlegend=True, hoverinfo="name",
        name=f"nodes {', '.join(map(str, nodes))}: {len(polygons)} face{'s' * (len(polygons) > 1)}",
    )  # fmt: skip

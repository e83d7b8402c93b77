# SPDX-License-Identifier: Apache-2.0
"""The weight diagram of a module of rank 2: its weights, their multiplicities, and the edges of their hull.

Multiplicities are shown for integrable modules of finite type (Freudenthal's formula); of other modules the weights
down to a height are shown without. Uses matplotlib's picture-only backend and none of its global state.
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rankwise.errors import SymmetryError
from rankwise.symmetry.weyl.highest_weight import HighestWeight
from rankwise.symmetry.weyl.picture import Placement

_HEIGHT, _LENGTH, _MOST_NUMBERS = 12, 8, 300


def draw_weights(module: HighestWeight, path: Path) -> None:
    """Draw the weight diagram of a module of rank 2 into a PNG file.

    Args:
        module: simple or parabolic Verma, of rank 2.
        path: of the picture.

    Raises:
        SymmetryError: if the rank is not 2, or the module's weights are not known.
        CapacityError: if there are more than a million weights.
    """
    if module.cartan.rank != 2:
        raise SymmetryError(
            f"A weight diagram is drawn for rank 2, but {module.cartan.title} has {module.cartan.rank}."
        )
    place = Placement(module)
    counted = module.is_bounded and module.cartan.is_finite
    found = module.multiplicities() if counted else dict.fromkeys(module.weights(_HEIGHT), 1)
    points, numbers = place.points(found), np.array(list(found.values()))
    figure = Figure(figsize=(7, 7), layout="constrained")
    axes = figure.add_subplot()
    spread = float(np.ptp(points, axis=0).max()) + 1
    _edges(axes, module, place, spread)
    many = len(points) > _MOST_NUMBERS or not counted
    dots = axes.scatter(*points.T, c=numbers, cmap="viridis", s=14 if many else 260, zorder=2)
    if counted and many:
        figure.colorbar(dots, label="multiplicity", shrink=0.8)
    elif counted:
        for point, number in zip(points, numbers, strict=True):
            pale = number > (numbers.min() + numbers.max()) / 2
            axes.annotate(str(number), point, ha="center", va="center", color="black" if pale else "white", zorder=3)
    low, high = points.min(0) - 0.05 * spread - 0.5, points.max(0) + 0.05 * spread + 0.5
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    axes.set_title(_title(module, counted, place.true), fontsize=11)
    axes.set_axis_off()
    FigureCanvasAgg(figure).print_png(str(path))


def _edges(axes: Axes, module: HighestWeight, place: Placement, spread: float) -> None:
    length = None if module.f_vector()[0] != float("inf") else _LENGTH
    for face in module.faces(1, length):
        points, rays = module.generators(face)
        line = place.spanned(place.points(points), place.directions(rays), 3 * spread)
        axes.plot(*line.T, color="0.6", linewidth=1, zorder=1)


def _title(module: HighestWeight, counted: bool, true: bool) -> str:
    lam = ", ".join(map(str, module.lam))
    what = "multiplicities" if counted else f"weights down to height {_HEIGHT}"
    note = "" if true else "\nroot coordinates: lengths and angles mean nothing"
    nodes = ", ".join(map(str, module.integrable or ())) or "none"
    return f"{module.cartan.title}, highest weight ({lam}), integrable nodes: {nodes}; {what}{note}"

# SPDX-License-Identifier: Apache-2.0
"""The growth of a graph as a picture: layer sizes as bars, with the Gaussian of the same mean and variance.

    mean = sum_d d g_d / N,   variance = sum_d d^2 g_d / N - mean^2,   N = sum_d g_d

are computed exactly, in fractions. The left panel is linear; the right one is logarithmic, where the Gaussian is a
parabola and the ends of the profile can be seen. Nothing is fitted by least squares: a poor fit is seen as one.
"""

from fractions import Fraction
from math import exp, log, log10, pi, sqrt
from pathlib import Path
from typing import TYPE_CHECKING

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.result import Growth

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BARS, _CURVE = "#7aa6c2", "#b5442e"
_GAPS = 60  # bars in a panel that are still wide enough for gaps between them
_LONG = 10**15


def moments(growth: Growth) -> tuple[Fraction, Fraction]:
    """Exact mean and variance of the distance of a state drawn at random.

    Args:
        growth: of a graph.
    """
    mean = Fraction(sum(distance * size for distance, size in enumerate(growth.layers)), growth.total)
    square = Fraction(sum(distance**2 * size for distance, size in enumerate(growth.layers)), growth.total)
    return mean, square - mean**2


def plot_growth(growth: Growth, path: str | Path) -> None:
    """Write a PNG of 800 x 500 pixels with the growth profile and its Gaussian.

    Args:
        growth: of a graph; what was searched in part is drawn as far as it goes, and said to be incomplete.
        path: where to; an existing file is replaced.

    Raises:
        SymmetryError: if the growth has one layer only, for which there is no Gaussian.
        ModuleNotFoundError: if matplotlib is not installed.
    """
    if len(growth.layers) < 2:
        raise SymmetryError(f"{growth.title} has one layer only; a profile needs two at least.")
    figure = _figure()
    figure.suptitle(_title(growth), fontsize=12)
    linear, logarithmic = figure.subplots(1, 2)
    last = len(growth.layers) - 1
    mean, variance = (float(moment) for moment in moments(growth))
    grid = [step * last / 400 for step in range(401)]
    curve = [_log_gaussian(distance, growth.total, mean, variance) for distance in grid]

    power = int(log10(max(growth.layers))) // 3 * 3
    _bars(linear, [size / 10**power for size in growth.layers], 0)
    linear.plot(grid, [exp(value - power * log(10)) for value in curve], color=_CURVE, linewidth=1.8)
    unit = rf" ($\times 10^{{{power}}}$)" if power else ""
    linear.set(ylabel=f"states in the layer{unit}", title="linear")

    tops = [log10(size) for size in growth.layers]
    floor, ceiling = -0.04 * max(tops) - 0.05, 1.06 * max(tops) + 0.05  # so that a layer of one state can be seen
    _bars(logarithmic, tops, floor)
    legend = f"Gaussian of the same mean {mean:.3f} and variance {variance:.3f}"
    logarithmic.plot(grid, [value / log(10) for value in curve], color=_CURVE, linewidth=1.8, label=legend)
    logarithmic.set(ylabel=r"$\log_{10}$ of the states in the layer", title="logarithmic", ylim=(floor, ceiling))
    for axes in (linear, logarithmic):
        axes.set(xlabel="distance from the start (generators)", xlim=(-0.02 * last - 0.6, 1.02 * last + 0.6))
        axes.locator_params(axis="x", integer=True)
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*logarithmic.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, format="png")


def _figure() -> "Figure":
    """An empty picture of 800 x 500 pixels; none of matplotlib's global state is touched."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  an extra
        from matplotlib.figure import Figure  # noqa: PLC0415  an extra
    except ModuleNotFoundError as error:
        message = "Pictures need matplotlib; run `pip install 'rankwise[tune]'`."
        raise ModuleNotFoundError(message, name=error.name) from None
    figure = Figure(figsize=(8, 5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _bars(axes: "Axes", tops: list[float], floor: float) -> None:
    """A bar for each layer from the floor up; gaps only where bars are wide enough for them."""
    wide = len(tops) <= _GAPS
    axes.bar(
        range(len(tops)),
        [top - floor for top in tops],
        bottom=floor,
        width=0.9 if wide else 1.0,
        color=_BARS,
        edgecolor=_BARS,
        linewidth=0 if wide else 0.5,
        label="layers of the graph",
    )


def _title(growth: Growth) -> str:
    total = f"{growth.total:,}"
    if growth.total >= _LONG:
        power = int(log10(growth.total))
        total = rf"${growth.total / 10**power:.4f} \times 10^{{{power}}}$"
    if growth.complete:
        return f"Growth of {growth.title}\n{total} states, diameter {growth.diameter}"
    return f"Growth of {growth.title}, to distance {len(growth.layers) - 1} only\n{total} states so far"


def _log_gaussian(distance: float, total: int, mean: float, variance: float) -> float:
    """The logarithm of N times the normal density."""
    return log(total) - log(sqrt(2 * pi * variance)) - (distance - mean) ** 2 / (2 * variance)

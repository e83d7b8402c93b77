# SPDX-License-Identifier: Apache-2.0
"""The loss over the steps as a picture, each step thin and an exponential mean of them thick.

    mean_t = (1 - d) sum_i d^i loss_{t-i} / (1 - d^t),   d = 0.9

Uses matplotlib's picture-only backend and none of its global state, so it works without a display.
"""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_DECAY = 0.9


def smoothed(losses: list[float]) -> list[float]:
    """The bias-corrected exponential mean up to each step."""
    mean, means = 0.0, []
    for count, loss in enumerate(losses, start=1):
        mean = _DECAY * mean + (1 - _DECAY) * loss
        means.append(mean / (1 - _DECAY**count))
    return means


def plot_loss(path: Path, steps: list[int], losses: list[float], title: str) -> None:
    """Write a PNG of the training loss."""
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(steps, losses, color="tab:blue", alpha=0.35, linewidth=1, label="each step")
    axes.plot(steps, smoothed(losses), color="tab:blue", linewidth=2.2, label="smoothed")
    axes.set(xlabel="optimizer step", ylabel="loss (nats a token)")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, format="png")

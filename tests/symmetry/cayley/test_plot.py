# SPDX-License-Identifier: Apache-2.0
import sys
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from matplotlib.image import imread

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.engines.closed import ClosedFormEngine
from rankwise.symmetry.cayley.families import coxeter
from rankwise.symmetry.cayley.plot import moments, plot_growth
from rankwise.symmetry.cayley.result import Growth, Limits

LIMITS = Limits(memory=2**20)
BARS = (0x7A, 0xA6, 0xC2)


def drawn(growth: Growth, path) -> np.ndarray:
    """Where the picture has the color of the bars."""
    plot_growth(growth, path)
    pixels = (255 * imread(path)[:, :, :3]).round().astype(int)
    assert pixels.shape == (500, 800, 3)
    return (abs(pixels - BARS) <= 1).all(axis=2)


def test_moments_are_exact():
    for n in (2, 5, 40):  # inversions: a sum of independent uniform variables on 0..i-1
        mean, variance = moments(ClosedFormEngine().grow(coxeter(n), LIMITS))
        assert mean == Fraction(n * (n - 1), 4)
        assert variance == sum(Fraction(i * i - 1, 12) for i in range(1, n + 1))


def test_bars_are_as_high_as_layers_are_large(tmp_path):
    growth = Growth(title="three layers", layers=(1, 4, 2), complete=True, method="by hand", seconds=0.0, memory=0)
    linear = drawn(growth, tmp_path / "growth.png")[80:420, 60:400]
    bars = [int(np.median(part)) for part in np.array_split(linear.sum(axis=0), 3)]  # a third of the panel for each
    assert bars[1] / bars[0] == pytest.approx(4, rel=0.1)  # the curve hides some pixels
    assert bars[1] / bars[2] == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("layers", [(1, 1), (1, 30, 5), tuple(range(1, 200))])
def test_any_profile_can_be_drawn(layers, tmp_path):
    growth = Growth(title="profile", layers=layers, complete=False, method="by hand", seconds=0.0, memory=0)
    assert drawn(growth, tmp_path / "growth.png").sum() > 1000


def test_numbers_beyond_floats_can_be_drawn(tmp_path):
    layers = (1, 10**309, 10**320, 10**315)
    growth = Growth(title="profile", layers=layers, complete=True, method="by hand", seconds=0.0, memory=0)
    assert drawn(growth, tmp_path / "growth.png").sum() > 1000


def test_incomplete_growth_says_so(tmp_path):
    growth = ClosedFormEngine().grow(coxeter(5), LIMITS)
    whole, part = (tmp_path / name for name in ("whole.png", "part.png"))
    plot_growth(growth, whole)
    plot_growth(replace(growth, complete=False), part)
    assert (imread(whole) != imread(part))[:50].any()  # the title
    assert (imread(whole) == imread(part))[60:].all()


def test_one_layer_is_refused(tmp_path):
    growth = Growth(title="a point", layers=(1,), complete=True, method="by hand", seconds=0.0, memory=0)
    with pytest.raises(SymmetryError, match="a point has one layer only"):
        plot_growth(growth, tmp_path / "growth.png")


def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'rankwise\[tune\]'"):
        plot_growth(ClosedFormEngine().grow(coxeter(5), LIMITS), tmp_path / "growth.png")

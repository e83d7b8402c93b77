# SPDX-License-Identifier: Apache-2.0
import struct

from hypothesis import given
from hypothesis import strategies as st

from rankwise.recipes.plot import plot_loss, smoothed


def test_the_picture_is_a_png_of_its_size(tmp_path):
    plot_loss(tmp_path / "loss.png", [1, 2, 3], [3.0, 2.0, 2.5], "title")
    content = (tmp_path / "loss.png").read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", content[16:24]) == (840, 480)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=50))
def test_a_smoothed_loss_stays_between_the_extremes_of_the_past(losses):
    for count, mean in enumerate(smoothed(losses), start=1):
        assert min(losses[:count]) - 1e-9 <= mean <= max(losses[:count]) + 1e-9


def test_the_weights_of_the_past_fall_by_a_tenth_a_step():
    assert smoothed([2.0])[0] == 2.0
    assert abs(smoothed([2.0, 3.0])[1] - (0.9 * 2 + 3) / 1.9) < 1e-12

# SPDX-License-Identifier: Apache-2.0
import pytest

from rankwise.symmetry.gaunt import DenseGrid, FusedGrid, GauntElementwiseProduct, Irreps, SeparableGrid, plan
from rankwise.symmetry.gaunt.pattern import Pattern
from rankwise.symmetry.gaunt.planner import ROUTES, measurements


def test_small_degrees_take_the_dense_grid_and_large_ones_a_separable_one():
    assert plan(Pattern((1, 1, 2))).route is DenseGrid
    assert plan(Pattern((12, 12, 24))).route is FusedGrid
    assert plan(Pattern((12, 12, 24)), device="meta").route is SeparableGrid  # the fused one is for processors


def test_the_fastest_measured_route_is_chosen_and_named():
    for entry in measurements():
        degree = entry["degree"]
        choice = plan(Pattern((degree, degree, 2 * degree)), entry["rows"], entry["device"])
        times = entry["milliseconds"]
        assert set(times) == {route.name for route in ROUTES}
        assert times[choice.route.name] == min(times.values())
        assert f"L = {degree}, {entry['rows']} rows measured" in choice.reason


def test_devices_that_were_not_measured_are_told():
    assert "not measured on meta" in str(plan(Pattern((2, 2, 4)), device="meta"))


@pytest.mark.parametrize(("degree", "name"), [(1, "dense grid"), (10, "fused grid")])
def test_products_say_which_route_they_take(degree, name):
    product = GauntElementwiseProduct(Irreps.functions(degree), Irreps.functions(degree))
    assert product.route.name == name
    assert str(product.choice).startswith(name)
    assert name in repr(product)

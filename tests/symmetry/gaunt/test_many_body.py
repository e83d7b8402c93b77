# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from rankwise.errors import SymmetryError
from rankwise.symmetry.gaunt import DenseGrid, Fourier, FusedGrid, GauntElementwiseProduct, GauntManyBody, SeparableGrid
from rankwise.testing.tolerance import assert_close
from symmetry.gaunt.peer import random_irreps

FIRST, LAST = "3x0e+3x1o+3x2e", "3x0e+3x1o+3x3o"
ROUTES = [DenseGrid, SeparableGrid, FusedGrid, Fourier]


def feature():
    return random_irreps(FIRST, 4, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("route", ROUTES)
def test_powers_are_repeated_untruncated_products(route):
    x = feature()
    square = GauntElementwiseProduct(FIRST, FIRST, weights=False).double()
    cube = GauntElementwiseProduct(square.irreps_out, FIRST, weights=False).double()
    fourth = GauntElementwiseProduct(square.irreps_out, square.irreps_out, LAST, weights=False).double()
    power = GauntManyBody(FIRST, LAST, 4, weights=False, route=route).double()(x)
    assert_close(power, fourth(square(x, x), square(x, x)))
    last = GauntElementwiseProduct(cube.irreps_out, FIRST, LAST, weights=False).double()
    assert_close(power, last(cube(square(x, x), x), x))
    second = GauntManyBody(FIRST, square.irreps_out, 2, weights=False, route=route).double()(x)
    assert_close(second, square(x, x))


def test_orders_are_weighted_and_summed():
    x = feature()
    module = GauntManyBody(FIRST, LAST, 3).double()
    exact = [GauntManyBody(FIRST, LAST, order, weights=False).double() for order in (2, 3)]
    with torch.no_grad():
        module.weights.zero_()
        module.weights[1, 0, 2], module.weights[2, 2] = 2.0, 3.0
    expected = torch.zeros(4, 3 * (1 + 3 + 7), dtype=torch.float64)
    expected[:, 2] = 2 * exact[0](x)[:, 2]
    expected[:, 12:] = 3 * exact[1](x)[:, 12:]
    assert_close(module(x), expected)


@pytest.mark.parametrize("route", ROUTES)
def test_gradients_of_both_orders(route):
    module = GauntManyBody("0e+1o", "0e+1o", 3, route=route).double()
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(module, (x,))
    assert torch.autograd.gradgradcheck(module, (x,))


def test_what_has_no_powers_is_refused():
    with pytest.raises(SymmetryError, match="the parity of degree l is"):
        GauntManyBody("0e+1e", "0e", 2)
    with pytest.raises(SymmetryError, match="reaches degree 2, not"):
        GauntManyBody("0e+1o", "3o", 2)
    with pytest.raises(SymmetryError, match="powers start at 1"):
        GauntManyBody("0e", "0e", 0)
    with pytest.raises(SymmetryError, match="2 channels"):
        GauntManyBody("2x0e", "0e", 2)
    with pytest.raises(SymmetryError, match="The product has degree 80"):
        GauntManyBody("20e", "0e", 4)

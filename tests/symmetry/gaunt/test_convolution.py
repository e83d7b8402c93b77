# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from rankwise.errors import SymmetryError
from rankwise.symmetry.gaunt import (
    DenseGrid,
    Fourier,
    FusedGrid,
    GauntConvolution,
    GauntElementwiseProduct,
    RotatedConvolution,
    SeparableGrid,
    spherical_harmonics,
)
from rankwise.testing.tolerance import assert_close
from symmetry.gaunt.peer import random_irreps, rotated, rotation

CASES = [("2x0e+2x1o+2x2e", "2x0e+2x1o+2x3o+2x4e"), ("2x0e+2x1o+2x3o+2x1e", "2x0e+2x1o+2x0o"), ("2x3o", "2x0e")]


def edges(count=6):
    """Edges, some of them along an axis."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    vectors[:3] = torch.tensor([[0.0, 2.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]])
    return vectors, torch.randn(count, 2, 4, generator=generator, dtype=torch.float64)


def inputs(irreps):
    return random_irreps(irreps, 6, torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("first", "last"), CASES)
@pytest.mark.parametrize("route", [DenseGrid, SeparableGrid, FusedGrid, Fourier])
def test_convolutions_are_products_with_weighted_harmonics(first, last, route):
    x, (vectors, radial) = inputs(first), edges()
    product = GauntElementwiseProduct(first, "2x0e+2x1o+2x2e+2x3o", last, weights=False).double()
    harmonics = spherical_harmonics(3, vectors)
    blocks = ((radial[:, :, ell, None] * harmonics[:, None, ell * ell : (ell + 1) ** 2]).flatten(1) for ell in range(4))
    expected = product(x, torch.cat(list(blocks), dim=-1))
    assert_close(GauntConvolution(first, last, 3, route=route).double()(x, vectors, radial), expected)
    assert_close(RotatedConvolution(first, last, 3).double()(x, vectors, radial), expected)


def test_both_forms_have_the_same_gradients_of_both_orders_also_at_the_poles():
    x, (vectors, radial) = inputs(CASES[0][0]), edges()
    results = []
    for kind in (GauntConvolution, RotatedConvolution):
        v = vectors.clone().requires_grad_()
        energy = kind(*CASES[0], 3).double()(x, v, radial).square().sum()
        (force,) = torch.autograd.grad(energy, v, create_graph=True)
        results.append((force, *torch.autograd.grad(force.square().sum(), v)))
    for one, other in zip(*results, strict=True):
        assert_close(other, one)


@pytest.mark.parametrize("kind", [GauntConvolution, RotatedConvolution])
@pytest.mark.parametrize("sign", [1, -1])
def test_convolutions_are_equivariant(kind, sign):
    turn = rotation(0, sign)
    x, (vectors, radial) = inputs(CASES[1][0]), edges()
    module = kind(*CASES[1], 3).double()
    turned = module(rotated(x, CASES[1][0], turn), vectors @ turn.T, radial)
    assert (turned - rotated(module(x, vectors, radial), CASES[1][1], turn)).norm() < 1e-10


def test_the_bracket_reaches_pseudovectors():
    x, (vectors, _) = inputs("1o"), edges()
    module = GauntConvolution("1o", "1e", 1, complete=True).double()
    unit = vectors / vectors.norm(dim=-1, keepdim=True)
    radial = torch.ones(6, 2, dtype=torch.float64)
    cross = torch.linalg.cross(x, unit) * math.sqrt(3 / (4 * math.pi)) ** 2
    assert_close(module(x, vectors, radial), cross)


@pytest.mark.parametrize("kind", [GauntConvolution, RotatedConvolution])
def test_edges_that_cannot_be_convolved_are_refused(kind):
    module = kind("2x0e+2x1o", "2x0e+2x1o", 1)
    x, vectors, radial = torch.ones(3, 8), torch.ones(3, 3), torch.ones(3, 2)
    assert module(x, vectors, radial).shape == (3, 8)
    for bad in (math.nan, 0.0, math.inf):
        with pytest.raises(SymmetryError, match="no direction"):
            module(x, torch.full((3, 3), bad), radial)
    with pytest.raises(SymmetryError, match=r"vectors \[edges, 3\]"):
        module(x, vectors[:2], radial)
    with pytest.raises(SymmetryError, match="length 8"):
        module(x[:, :7], vectors, radial)
    with pytest.raises(SymmetryError, match="cannot reach 3o"):
        kind("2x0e+2x1o", "2x0e+2x3o", 1)
    with pytest.raises(SymmetryError, match="irreps_in has 2 channels"):
        kind("2x0e+2x1o", "3x0e", 1)

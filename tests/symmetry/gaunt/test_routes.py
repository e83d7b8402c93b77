# SPDX-License-Identifier: Apache-2.0
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from rankwise.errors import SymmetryError
from rankwise.symmetry.gaunt import DenseGrid, Fourier, FusedGrid, SeparableGrid, fused
from rankwise.symmetry.gaunt.grid import Grid, factors, on_points
from rankwise.symmetry.gaunt.kernel import LANES
from rankwise.symmetry.gaunt.pattern import Pattern
from rankwise.symmetry.gaunt.tiles import multiply, transpose
from rankwise.testing.tolerance import assert_close
from symmetry.gaunt.peer import couplings

ROUTES = [DenseGrid, SeparableGrid, FusedGrid, Fourier]
ALL = ((1, -1), (1, -1), (1, -1))


def signal(types, degree, rows=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(types, rows, (degree + 1) ** 2, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("degrees", [(0, 0, 0), (2, 2, 4), (3, 1, 2), (4, 3, 5), (1, 3, 1)])
def test_routes_equal_the_sum_over_couplings(route, degrees):
    x, y = signal(2, degrees[0]), signal(2, degrees[1], seed=1)
    product = route(Pattern(degrees, ALL, bracket=0.5)).double()(x, y)
    even = couplings(x[0], y[0], degrees, False) + couplings(x[1], y[1], degrees, False)
    odd = couplings(x[0], y[1], degrees, True) + couplings(x[1], y[0], degrees, True)
    assert_close(product[0], even + 0.5 * odd)
    even = couplings(x[0], y[1], degrees, False) + couplings(x[1], y[0], degrees, False)
    odd = couplings(x[0], y[0], degrees, True) + couplings(x[1], y[1], degrees, True)
    assert_close(product[1], even + 0.5 * odd)


@pytest.mark.parametrize("degrees", [(20, 20, 40), (20, 20, 20)])
def test_routes_agree_at_degree_20(degrees):
    x, y = signal(1, 20, rows=2), signal(1, 20, rows=2, seed=1)
    dense, *others = (route(Pattern(degrees)).double()(x, y) for route in ROUTES)
    for other in others:
        assert_close(other, dense)


@pytest.mark.parametrize("degrees", [(2, 2, 4), (3, 2, 3), (4, 4, 4), (4, 4, 3)])
@pytest.mark.parametrize("short", ["thetas", "phis"])
def test_one_node_less_is_wrong_and_refused(degrees, short):
    least = Grid.exact(sum(degrees))
    grid = Grid(least.thetas - (short == "thetas"), least.phis - (short == "phis"))
    x, y = signal(1, degrees[0])[0], signal(1, degrees[1], seed=1)[0]
    errors = []
    for tried in (least, grid):
        first, second, last = (torch.as_tensor(on_points(factors(degree, tried)[0])) for degree in degrees)
        weights = torch.as_tensor(tried.rings()[2]).repeat_interleave(tried.phis)
        found = (x @ first) * (y @ second) * weights @ last.T
        wanted = couplings(x, y, degrees, False)
        errors.append((found - wanted).norm() / wanted.norm())
    least.require(sum(degrees))
    assert errors[0] < 1e-13
    assert errors[1] > 0.05
    with pytest.raises(SymmetryError, match="aliases"):
        grid.require(sum(degrees))


@pytest.mark.parametrize("route", ROUTES)
def test_limits_of_product_and_bracket(route):
    x, y = signal(1, 3), signal(1, 3, seed=1)
    product = route(Pattern((3, 3, 6))).double()
    bracket = route(Pattern((3, 3, 6), ((1,), (1,), (-1,)), bracket=1.0)).double()
    constant = torch.zeros_like(x)
    constant[..., 0] = math.sqrt(4 * math.pi)
    assert_close(product(x, y), product(y, x))
    assert_close(product(x, constant)[..., :16], x)
    assert_close(product(x, x)[..., 0] * math.sqrt(4 * math.pi), x.square().sum(-1))
    assert_close(bracket(x, y), -bracket(y, x))
    assert_close(bracket(x, x), torch.zeros_like(product(x, x)))
    assert_close(bracket(x, constant), torch.zeros_like(product(x, x)))


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("bracket", [0.0, 0.7])
def test_gradients_of_both_orders(route, bracket):
    pattern = Pattern((1, 2, 2), ALL if bracket else ((1,), (1,), (1,)), bracket)
    count = 2 if bracket else 1
    x, y = signal(count, 1, rows=2).requires_grad_(), signal(count, 2, rows=2, seed=1).requires_grad_()
    product = route(pattern).double()
    assert torch.autograd.gradcheck(product, (x, y))
    assert torch.autograd.gradgradcheck(product, (x, y))
    assert torch.autograd.gradcheck(lambda x: product(x, y.detach()), (x,))
    assert torch.autograd.gradgradcheck(lambda y: product(x.detach(), y), (y,))


def test_chunks_of_rows_change_nothing():
    rows = 4001
    route = SeparableGrid(Pattern((2, 2, 4))).double()
    assert len(route.chunks(rows)) < len(SeparableGrid(Pattern((6, 6, 12))).chunks(rows))
    x, y = signal(1, 6, rows).requires_grad_(), signal(1, 6, rows, seed=1).requires_grad_()
    grads = []
    for route in (SeparableGrid, FusedGrid, DenseGrid):
        product = route(Pattern((6, 6, 3))).double()(x, y)
        grads.append((product, *torch.autograd.grad(product.sin().sum(), (x, y))))
    for ours, compiled, dense in zip(*grads, strict=True):
        assert_close(ours, dense)
        assert_close(compiled, dense)


def test_no_rows_give_no_rows():
    for route in ROUTES[:3]:
        assert route(Pattern((2, 2, 4)))(torch.zeros(1, 0, 9), torch.zeros(1, 0, 9)).shape == (1, 0, 25)


@pytest.mark.parametrize("route", ROUTES)
def test_a_module_moved_to_float64_has_float64_tables(route):
    x, y = signal(1, 3), signal(1, 3, seed=1)
    moved = route(Pattern((3, 3, 3))).float().double()
    assert_close(moved(x, y)[0], couplings(x[0], y[0], (3, 3, 3), False))
    single = moved.float()(x.float(), y.float())
    assert_close(single, moved.double()(x, y), torch.float32)


def test_degrees_above_the_table_are_refused():
    with pytest.raises(SymmetryError, match="The product has degree 62"):
        Pattern((31, 31, 10))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threads", [1, 3])
def test_the_fused_grid_shares_rows_among_threads(dtype, threads, monkeypatch):
    monkeypatch.setattr(fused, "_SHARED", 0)  # few rows, too, are shared
    pattern, rows = Pattern((5, 4, 6), ALL, bracket=0.5), 2100
    x, y = signal(2, 5, rows).to(dtype), signal(2, 4, rows, seed=1).to(dtype)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with ThreadPoolExecutor(2) as callers:
            found = list(callers.map(lambda _: FusedGrid(pattern).to(dtype)(x, y), range(4)))
    finally:
        torch.set_num_threads(before)
    assert_close(found[0], DenseGrid(pattern).to(dtype)(x, y), dtype)
    assert all(torch.equal(found[0], other) for other in found)


@pytest.mark.parametrize("rows", [1, 7, 16, 31, 33])
def test_the_fused_grid_takes_any_number_of_rows_and_any_layout(rows):
    pattern = Pattern((3, 2, 4))
    x = signal(1, 3, rows=1).expand(1, rows, 16)
    y = signal(1, 2, rows, seed=1).mT.contiguous().mT
    assert_close(FusedGrid(pattern).double()(x, y), DenseGrid(pattern).double()(x, y))


def test_the_fused_grid_refuses_what_it_would_read_beyond():
    product = FusedGrid(Pattern((3, 2, 4))).double()
    for x, y in (
        (signal(1, 3, rows=40), signal(1, 2, rows=5)),
        (signal(1, 3), signal(1, 1)),
        (signal(1, 3), signal(2, 2)),
        (signal(1, 3).float(), signal(1, 2)),
    ):
        with pytest.raises(SymmetryError, match="types, rows, harmonics"):
            product(x, y)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (8, 8), (3, 20), (21, 4), (32, 81)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_transposes(rows, columns, dtype):
    given = np.arange(rows * columns, dtype=dtype)
    found = np.full(columns * (rows + 2), -1, dtype=dtype)
    transpose((given, 0, columns), (found, 0, rows + 2), (rows, columns))
    found = found.reshape(columns, rows + 2)
    assert np.array_equal(found[:, :rows], given.reshape(rows, columns).T)
    assert (found[:, rows:] == -1).all()


@pytest.mark.parametrize("terms", [1, 2, 9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_of_small_matrices(terms, dtype):
    generator, lanes = np.random.default_rng(0), LANES // np.dtype(dtype).itemsize
    a, b = generator.normal(size=(12, 10)).astype(dtype), generator.normal(size=(10, lanes)).astype(dtype)
    c = np.zeros((12, lanes), dtype=dtype)
    multiply((a.ravel(), 0, 10), (b.ravel(), 0, lanes), (c.reshape(-1), 0, lanes), (7, terms), lanes)
    np.testing.assert_allclose(c, a[:, :terms] @ b[:terms], rtol=1e-4 if dtype == np.float32 else 1e-12, atol=1e-5)

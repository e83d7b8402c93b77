# SPDX-License-Identifier: Apache-2.0
import math
from fractions import Fraction
from itertools import islice, product

import pytest

from rankwise.errors import CapacityError, SymmetryError
from rankwise.symmetry.weyl import Cartan, HighestWeight
from symmetry.weyl.cases import INFINITE, cases, holds

HEIGHT = 7


def verma(module):
    """The parabolic Verma module with the same hull."""
    return HighestWeight(module.cartan, module.lam, module.integrable, parabolic_verma=True)


def box(rank, height):
    """All c >= 0 with a sum up to the height."""
    return [c for c in product(range(height + 1), repeat=rank) if sum(c) <= height]


@pytest.mark.parametrize("name", ["A1", "A2", "B2", "G2", "A3", "C3", "A1xA1", *INFINITE])
def test_weights_are_the_lattice_points_of_the_hull(name):
    cartan = INFINITE.get(name) or Cartan.of(*name.split("x"))
    for module in map(verma, list(cases(cartan))[::2]):
        facets, body = list(module.inequalities()), module.j_min(range(cartan.rank))
        inside = {
            c
            for c in box(cartan.rank, HEIGHT)
            if all(holds(module, facet, (1, *c)) >= 0 for facet in facets)
            and all(part == 0 for i, part in enumerate(c) if i not in body)
        }
        found = list(module.weights(HEIGHT))
        assert set(found) == inside
        assert len(found) == len(inside)
        assert [sum(c) for c in found] == sorted(sum(c) for c in found)
        assert all(module.contains_weight(c) == (c in inside) for c in box(cartan.rank, HEIGHT))


@pytest.mark.parametrize("name", ["A2", "B2", "G2", "A3", "B3", "A2~", "hyperbolic3"])
def test_weights_are_slices_of_modules_of_the_levi(name):
    # wt M(lam, J) = union over mu in Z>=0 (simple roots outside J) of wt L(lam - mu) of the Levi, by Freudenthal.
    cartan = INFINITE.get(name) or Cartan.of(name)
    for module in list(cases(cartan))[::3]:
        nodes, found = module.integrable, set()
        for mu in box(cartan.rank, HEIGHT):
            if any(mu[j] for j in nodes):
                continue
            labels = [
                module.lam[j] - sum(entry * part for entry, part in zip(cartan.rows[j], mu, strict=True)) for j in nodes
            ]
            if not nodes:
                found.add(mu)
                continue
            for inner in HighestWeight(cartan.subdiagram(nodes), labels).multiplicities():
                point = list(mu)
                for j, part in zip(nodes, inner, strict=True):
                    point[j] = part
                found.add(tuple(point))
        assert set(verma(module).weights(HEIGHT)) == {c for c in found if sum(c) <= HEIGHT}


@pytest.mark.parametrize("name", ["A2", "B2", "G2", "A3", "B3"])
def test_weights_are_those_of_the_levi_minus_positive_roots(name):
    # wt M(lam, J) = wt L(lam) of the Levi - Z>=0 (positive roots outside the span of J).
    cartan = Cartan.of(name)
    for module in list(cases(cartan))[::3]:
        nodes = module.integrable
        roots = [root for root in cartan.positive_roots() if any(root[i] for i in range(cartan.rank) if i not in nodes)]
        levi = HighestWeight(cartan.subdiagram(nodes), [module.lam[j] for j in nodes]).weights() if nodes else [()]
        found = {tuple(dict(zip(nodes, inner, strict=True)).get(i, 0) for i in range(cartan.rank)) for inner in levi}
        fresh = {c for c in found if sum(c) <= HEIGHT}
        found = set(fresh)
        while fresh:
            lower = {tuple(a + b for a, b in zip(c, root, strict=True)) for c in fresh for root in roots}
            fresh = {c for c in lower if sum(c) <= HEIGHT} - found
            found |= fresh
        assert set(verma(module).weights(HEIGHT)) == found


@pytest.mark.parametrize(
    ("name", "lam", "weights", "dimension"),
    [
        ("A2", (1, 1), 7, 8),
        ("A2", (3, 3), 37, 64),
        ("G2", (1, 1), 31, 64),
        ("G2", (1, 0), 7, 7),
        ("B3", (0, 0, 1), 8, 8),
        ("E6", (1, 0, 0, 0, 0, 0), 27, 27),
        ("E8", (0, 0, 0, 0, 0, 0, 0, 1), 241, 248),
    ],
)
def test_known_weight_counts_and_dimensions(name, lam, weights, dimension):
    module = HighestWeight(Cartan.of(name), lam)
    found = module.multiplicities()
    assert len(found) == weights
    assert module.module_dimension() == sum(found.values()) == dimension
    assert set(module.weights()) == set(found)


def test_the_zero_weight_of_the_adjoint_module_has_the_rank_as_multiplicity():
    module = HighestWeight(Cartan.of("E8"), (0,) * 7 + (1,))
    theta = module.cartan.positive_roots()[-1]
    assert module.dominant_multiplicities() == {(0,) * 8: 1, theta: 8}


@pytest.mark.parametrize("name", ["A2", "B2", "G2", "A3", "B3", "C3", "A1xA2", "D4"])
def test_freudenthal_sums_to_weyls_dimension(name):
    cartan = Cartan.of(*name.split("x"))
    for lam in list(product((0, 1, 2), repeat=cartan.rank))[1::4][:8]:
        module = HighestWeight(cartan, lam)
        assert sum(module.multiplicities().values()) == module.module_dimension()


@pytest.mark.parametrize(("rank", "forests"), [(1, 2), (2, 7), (3, 38), (4, 291)])
def test_lattice_points_of_the_permutohedron_count_labelled_forests(rank, forests):
    assert len(list(HighestWeight(Cartan.of(f"A{rank}"), (1,) * rank).weights())) == forests


def test_multiplicities_of_sl2_cubed_and_of_a_tensor_power():
    # (C^2)^3 of A1 x A1 x A1: all eight weights once; L(1,1) of A2: zero weight twice.
    assert set(HighestWeight(Cartan.of("A1", "A1", "A1"), (1, 1, 1)).multiplicities().values()) == {1}
    assert HighestWeight(Cartan.of("A2"), (1, 1)).multiplicities()[1, 1] == 2


def test_isotropic_directions_below_a_trivial_module_are_no_weights():
    # lam - delta is dominant for affine A1 but no weight of the trivial module, and one of L(Lambda_0).
    assert list(HighestWeight(Cartan.of("A1~"), (0, 0)).weights(8)) == [(0, 0)]
    module = HighestWeight(Cartan.of("A1~"), (1, 0))
    found = set(module.weights(14))
    # The weights of L(Lambda_0) lie under the parabola: lam - a alpha_0 - b alpha_1 with a >= (a - b)^2.
    assert found == {c for c in box(2, 14) if c[0] >= (c[0] - c[1]) ** 2}


def test_simple_modules_with_fractions_know_their_weights():
    module = HighestWeight(Cartan.of("A2"), (Fraction(-1, 2), 1))
    assert module.integrable == (1,)
    assert list(module.weights(2)) == [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1)]


def test_weights_of_other_modules_are_refused():
    # V = M(0) / (f_1 f_2 v) for A1 x A1 has the same I_V and hull as M(0, {}) and fewer weights.
    module = HighestWeight(Cartan.of("A1", "A1"), (0, 0), [])
    assert module.f_vector() == (1, 2, 1)
    for ask in (lambda: module.weights(3), lambda: module.contains_weight((1, 1))):
        with pytest.raises(SymmetryError, match=r"not determined .* known for L"):
            ask()
    assert verma(module).contains_weight((1, 1))
    assert HighestWeight(Cartan.of("A2"), (1, 0), [0, 1]).contains_weight((1, 1))  # integrable, so simple


def test_endless_weights_need_a_height():
    with pytest.raises(SymmetryError, match="infinitely many weights; give max_height"):
        HighestWeight(Cartan.of("A2"), (-1, 0)).weights()
    assert len(list(HighestWeight(Cartan.of("A2"), (-1, 0)).weights(0))) == 1


def test_multiplicities_are_refused_where_the_formula_does_not_apply():
    with pytest.raises(SymmetryError, match="needs finite type"):
        HighestWeight(Cartan.of("A1~"), (1, 0)).multiplicities()
    with pytest.raises(SymmetryError, match=r"integrable nodes are \(1,\) of 0..1"):
        HighestWeight(Cartan.of("A2"), (-1, 0)).multiplicities()
    with pytest.raises(CapacityError, match="10,026,505 weights, more than 1,000,000; ask for the dominant"):
        HighestWeight(Cartan.of("A8"), (1,) * 8).multiplicities()
    with pytest.raises(CapacityError, match="more than 100,000 dominant weights"):
        HighestWeight(Cartan.of("A1"), (10**9,)).dominant_multiplicities()


@pytest.mark.parametrize("point", [(1,), (1, 2, 3), (0.5, 1)])
def test_points_must_fit(point):
    with pytest.raises(SymmetryError, match="given by 2 integers"):
        HighestWeight(Cartan.of("A2"), (1, 1)).contains_weight(point)


def test_points_above_the_highest_weight_are_no_weights():
    assert not HighestWeight(Cartan.of("A2"), (1, 1)).contains_weight((-1, 0))


def test_vertices_and_rays_of_endless_hulls_are_lazy():
    module = HighestWeight(Cartan.of("A2~", "A1"), (1, 1, 1, -1))
    assert len(list(islice(module.vertices(), 500))) == 500
    assert list(module.rays()) == [(0, 0, 0, 1)]
    assert math.inf in module.f_vector()

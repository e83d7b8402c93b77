# SPDX-License-Identifier: Apache-2.0
import itertools
import math

import numpy as np
import pytest
import torch
from sympy.physics.wigner import wigner_3j

from rankwise.errors import SymmetryError
from rankwise.symmetry.gaunt import bracket_tensor, coupling_tensor, gaunt_tensor, spherical_harmonics
from rankwise.symmetry.gaunt.coefficients import bracket_factor, gaunt_factor, three_j_squared
from symmetry.gaunt.peer import o3

TRIANGLES = [(a, b, c) for a in range(4) for b in range(4) for c in range(abs(a - b), a + b + 1)]


@pytest.mark.parametrize("degrees", TRIANGLES)
def test_coupling_tensors_are_those_of_e3nn(degrees):
    np.testing.assert_allclose(coupling_tensor(*degrees), o3.wigner_3j(*degrees, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("degrees", TRIANGLES[::3])
def test_product_and_bracket_take_turns_with_the_factors_of_the_closed_form(degrees):
    odd = sum(degrees) % 2
    for tensor, factor in ((gaunt_tensor, gaunt_factor), (bracket_tensor, bracket_factor)):
        assert np.linalg.norm(tensor(*degrees)) == pytest.approx(factor(*degrees), abs=1e-13)
    assert gaunt_factor(*degrees) == 0 if odd else bracket_factor(*degrees) == 0


def test_gaunt_integrals_match_a_midpoint_rule_on_another_grid():
    # In z and phi; the midpoint rule is exact in phi, and in z its error falls with the square of the step.
    count = 2000
    z = (torch.arange(count, dtype=torch.float64) + 0.5) * 2 / count - 1
    phi = torch.arange(12, dtype=torch.float64) * math.tau / 12
    sine = (1 - z * z).sqrt()[:, None]
    points = torch.stack([sine * phi.sin(), z[:, None].expand(-1, 12), sine * phi.cos()], dim=-1).reshape(-1, 3)
    y = spherical_harmonics(3, points) * math.sqrt(2 / count * math.tau / 12)
    cubes = torch.einsum("pi,pj,pk->ijk", y, y, y) / math.sqrt(2 / count * math.tau / 12)
    np.testing.assert_allclose(gaunt_tensor(3, 2, 1), cubes[9:16, 4:9, 1:4], atol=2e-5)


def test_three_j_symbols_match_sympy():
    for degrees in itertools.product(range(4), repeat=3):
        for orders in ((0, 0, 0), (1, -1, 0), (2, -1, -1)):
            assert three_j_squared(degrees, orders) == wigner_3j(*degrees, *orders) ** 2
    assert three_j_squared((20, 20, 40), (0, 0, 0)) == wigner_3j(20, 20, 40, 0, 0, 0) ** 2


def test_the_cross_product_has_the_known_factor():
    # {x, y} of vectors in the slots of degree 1 is a cross product times sqrt(3 / 4 pi).
    assert bracket_factor(1, 1, 1) / math.sqrt(6) == pytest.approx(math.sqrt(3 / (4 * math.pi)))


def test_what_is_no_triangle_or_above_the_table_is_refused():
    with pytest.raises(SymmetryError, match="no triangle"):
        coupling_tensor(1, 1, 3)
    with pytest.raises(SymmetryError, match="degrees 0 to 60"):
        gaunt_tensor(61, 1, 60)

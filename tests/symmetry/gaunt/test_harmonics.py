# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from rankwise.errors import SymmetryError
from rankwise.symmetry.gaunt import rotation_matrix, spherical_harmonics
from rankwise.testing.tolerance import assert_close
from symmetry.gaunt.peer import o3, rotation

POLES = torch.tensor([[0.0, 1.0, 0.0], [0.0, -2.0, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64)


def vectors(rows=20):
    generator = torch.Generator().manual_seed(0)
    return torch.cat([torch.randn(rows, 3, generator=generator, dtype=torch.float64), POLES])


def test_harmonics_are_those_of_e3nn():
    points = vectors()
    theirs = o3.spherical_harmonics(list(range(11)), points, normalize=True, normalization="integral")
    assert_close(spherical_harmonics(10, points), theirs)


def test_squares_of_a_degree_sum_to_a_constant_up_to_degree_40():
    values = spherical_harmonics(40, vectors())
    for degree in (0, 1, 20, 40):
        total = values[:, degree**2 : (degree + 1) ** 2].square().sum(-1)
        assert_close(total, torch.full_like(total, (2 * degree + 1) / (4 * math.pi)))


def test_gradients_of_both_orders_exist_at_the_poles():
    points = POLES.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: spherical_harmonics(3, v), (points,))
    assert torch.autograd.gradgradcheck(lambda v: spherical_harmonics(3, v), (points,))


def test_rotation_matrices_act_on_harmonics_as_rotations_on_vectors():
    for sign in (1, -1):
        turn, points = rotation(0, sign), vectors()
        expected = spherical_harmonics(20, points) @ rotation_matrix(20, turn).T
        assert_close(spherical_harmonics(20, points @ turn.T), expected)


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
def test_vectors_without_direction_are_refused(bad):
    points = vectors()
    points[3] = bad
    with pytest.raises(SymmetryError, match=r"1 of 23 vectors have no direction"):
        spherical_harmonics(2, points)


def test_degrees_above_the_table_and_what_is_no_rotation_are_refused():
    with pytest.raises(SymmetryError, match="degrees 0 to 60"):
        spherical_harmonics(61, vectors())
    with pytest.raises(SymmetryError, match="orthogonal"):
        rotation_matrix(2, 2 * torch.eye(3))

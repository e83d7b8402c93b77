# SPDX-License-Identifier: Apache-2.0
"""The randomized decomposition finds the leading part of a decaying spectrum and is exact where nothing is cut off."""

import pytest
import torch

from random_layers import draw
from rankwise.linalg.randomized_svd import randomized_svd
from rankwise.linalg.svd import svd
from rankwise.testing import assert_close


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [(60, 40), (30, 80)])
def test_the_leading_singular_values_of_a_decaying_spectrum_are_found(shape: tuple[int, int]) -> None:
    u, _, v = svd(draw(*shape), 30)
    s = 2.0 ** -torch.arange(30).double()
    left, values, right = randomized_svd((u * s) @ v, 5, generator())
    assert_close(values, s[:5])
    assert torch.allclose((right @ v[:5].t()).abs(), torch.eye(5).double(), atol=1e-6)
    assert torch.allclose((left * values) @ right, (u[:, :5] * s[:5]) @ v[:5], atol=1e-6)


def test_it_is_exact_when_twice_the_rank_reaches_the_size() -> None:
    matrix = draw(9, 7)
    _, expected, _ = svd(matrix)
    left, values, right = randomized_svd(matrix, 4, generator())
    assert_close(values, expected[:4])
    assert_close(left.t() @ left, torch.eye(4).double())
    assert_close(right @ right.t(), torch.eye(4).double())


def test_the_generator_determines_it_and_the_global_one_stays() -> None:
    matrix = draw(40, 50)
    before = torch.get_rng_state()
    first, second = (randomized_svd(matrix, 3, generator(seed))[2] for seed in (0, 0))
    assert torch.equal(first, second) and torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(randomized_svd(matrix, 3, generator(1))[2], first)

# SPDX-License-Identifier: Apache-2.0
"""Leading eigenvectors of large matrices are those of the whole decomposition, whatever the spectrum."""

import pytest
import torch
from torch import Tensor

from random_layers import draw
from rankwise.linalg import krylov
from rankwise.linalg.krylov import leading_eigenvectors
from rankwise.testing import assert_close

SIZE = 520


def matrix(values: Tensor) -> tuple[Tensor, Tensor]:
    """A symmetric matrix with these eigenvalues, and its eigenvectors as rows."""
    vectors = torch.linalg.qr(draw(len(values), len(values)))[0].t()
    return vectors.t() @ (values[:, None] * vectors), vectors


POWERS = torch.arange(1, SIZE + 1).double() ** -1.0
SPECTRA = {
    "power law": POWERS,
    "one far above": torch.cat([torch.tensor([1e6]).double(), POWERS[1:]]),
    "low rank": torch.where(torch.arange(SIZE) < 20, POWERS, 0.0),
    "flat": torch.linspace(2, 1, SIZE).double(),  # too flat for the Krylov space: decomposed as a whole
}


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_the_leading_eigenpairs_are_exact(spectrum: str) -> None:
    values = SPECTRA[spectrum].sort(descending=True).values
    whole, vectors = matrix(values)
    found, directions = leading_eigenvectors(whole, 16)
    assert torch.allclose(found, values[:16], rtol=1e-10)
    assert_close(directions @ directions.t(), torch.eye(16, dtype=torch.float64))
    assert torch.allclose((directions @ vectors[:16].t()).abs(), torch.eye(16).double(), atol=1e-6)


def test_large_matrices_take_the_krylov_space_unless_the_spectrum_is_flat() -> None:
    assert krylov._from_krylov_space(matrix(POWERS)[0], 16) is not None
    assert krylov._from_krylov_space(matrix(SPECTRA["flat"])[0], 16) is None


def test_small_matrices_are_decomposed_as_a_whole() -> None:
    whole, vectors = matrix(torch.tensor([3.0, 2.0, 1.0, 0.5]).double())
    values, directions = leading_eigenvectors(whole, 4)
    assert_close(values, torch.tensor([3.0, 2.0, 1.0, 0.5]).double())
    assert_close((directions @ vectors.t()).abs(), torch.eye(4).double())


def test_the_same_matrix_gives_the_same_bits_whatever_the_global_seed() -> None:
    whole = matrix(POWERS)[0]
    torch.manual_seed(0)
    first = leading_eigenvectors(whole, 16)[1]
    torch.manual_seed(1)
    assert torch.equal(leading_eigenvectors(whole, 16)[1], first)

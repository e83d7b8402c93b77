# SPDX-License-Identifier: Apache-2.0
"""e3nn, whose tensors and products ours are held against.

Importing it warns about TorchScript, and its constants have the default dtype of the moment they are made.
"""

import contextlib
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from e3nn import o3

__all__ = ["couplings", "in_float64", "o3", "random_irreps", "rotated", "rotation"]

import torch

from rankwise.symmetry.gaunt import Irreps, coupling_tensor
from rankwise.symmetry.gaunt.coefficients import bracket_factor, gaunt_factor


@contextlib.contextmanager
def in_float64():
    """The default dtype is float64 for a while."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def rotation(seed, sign):
    """A random rotation, with the inversion if the sign is -1."""
    matrix = torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    proper = torch.linalg.qr(matrix)[0]
    return sign * proper * torch.linalg.det(proper).sign()


def rotated(x, irreps, matrix):
    """The tensor in the rotated frame, by e3nn's Wigner matrices; an improper rotation counts parities."""
    with in_float64():
        return x @ o3.Irreps(str(irreps)).D_from_matrix(matrix).T


def random_irreps(irreps, rows, generator):
    """Normal numbers of these irreps in float64."""
    return torch.randn(rows, Irreps.of(irreps).dim, generator=generator, dtype=torch.float64)


def couplings(x, y, degrees, bracket):
    """The product of two functions (or their bracket) as the sum over paths of factor times coupling tensor."""
    first, second, last = degrees
    found = x.new_zeros(len(x), (last + 1) ** 2)
    for a in range(first + 1):
        for b in range(second + 1):
            for c in range(abs(a - b), min(a + b, last) + 1):
                factor = (bracket_factor if bracket else gaunt_factor)(a, b, c)
                tensor = torch.as_tensor(coupling_tensor(a, b, c))
                parts = x[:, a * a : (a + 1) ** 2], y[:, b * b : (b + 1) ** 2]
                found[:, c * c : (c + 1) ** 2] += factor * torch.einsum("ri,rj,ijk->rk", *parts, tensor)
    return found

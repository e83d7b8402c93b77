# SPDX-License-Identifier: Apache-2.0
"""Kernels and sparsifiers written out entry by entry, which those of rankwise are compared with."""

import math
from fractions import Fraction

import torch
from torch import Tensor

from random_layers import draw
from rankwise.adapters.kernels import Points

KERNELS, SPARSIFIERS = ("piecewise", "mixed", "linear"), ("code", "paper", "hard", "none")


def dense_kernel(p: Tensor, q: Tensor, mix: Tensor | None, kernel: str, coefficient: float) -> Tensor:
    """D [*batch, in, out] by differences of all pairs of points."""
    signs = coefficient * torch.tensor([(-1.0) ** h for h in range(p.shape[-3])], dtype=p.dtype)
    if kernel == "linear":
        return torch.einsum("h,...hid,...hod->...io", signs, p, q)
    distances = (p[..., :, None, :] - q[..., None, :, :]).square().sum(-1).sqrt()
    values = torch.einsum("h,...hio->...io", signs, distances)
    if mix is None:
        return values
    a, g, b = (one[..., None, None] for one in mix.unbind(-1))
    powers = (values / g).exp()
    return values + a * powers / powers.sum(-1, keepdim=True) + b


def dense_sparse(values: Tensor, sparsifier: str, sparsity: float) -> Tensor:
    """S with the quantile of the magnitudes by interpolation, matrix by matrix."""
    if sparsifier == "none":
        return values
    sizes = values.detach().abs().flatten(-2)
    threshold = torch.quantile(sizes, sparsity, dim=-1)
    if sparsifier == "paper":
        place = max(1, math.ceil(Fraction(str(sparsity)) * sizes.shape[-1]))
        threshold = sizes.sort(dim=-1).values[..., place - 1]
    threshold = threshold[..., None, None]
    mask = (values.detach().abs() > threshold).to(values.dtype)
    if sparsifier == "paper":
        return values * (values.abs() - threshold) * mask
    return values * mask * (values.abs().detach() if sparsifier == "code" else 1.0)


def points(inputs: int, outputs: int, order: int = 1, *, mixed: bool = False, size: int = 3, seed: int = 0) -> Points:
    mix = torch.tensor([0.7, 1.3, -0.2], dtype=torch.float64) if mixed else None
    return Points(draw(2, inputs, size, seed=seed), draw(2, outputs, size, seed=seed + 1), mix, order)

# SPDX-License-Identifier: Apache-2.0
"""Dense updates from two thin sets of points by a distance kernel, of which only the largest entries are kept.

    K[i, o] = sum_h c_h ||P[h, i] - Q[h, o]||,   or   sum_h c_h <P[h, i], Q[h, o]>           (piecewise, linear)
    D = K,   or   D[i, o] = K[i, o] + a softmax_o(K[i, :] / g)[o] + b                        (mixed)
    S = D |D| [|D| > t],   D (|D| - t) [|D| > t],   or   D [|D| > t]                         (code, paper, hard)

for P [H, in, d], Q [H, out, d], coefficients c_h and a threshold t, the entry of |D| at a given place in ascending
order. t is a constant in the backward pass, and so is the magnitude |D| of "code", whose derivative is |D| [|D| > t].

Distances are summed from differences, never expanded into inner products, which would cancel for near points; where a
distance is 0 its gradient is 0. The gradients of P and Q are two products for each segment h. Here are the formulas and
their derivatives; `rankwise.adapters.kernelized` runs them block by block.

SNELL: Shen et al. 2024, arXiv 2411.01800; SNELLA: arXiv 2510.24037; code ssfgunner/SNELL. Radial and sigmoid kernels,
which those papers find to train badly, are left out.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rankwise.core.lowrank import needs_plain_formula
from rankwise.linalg.svd import wide

_BLOCK = 2**18  # entries of D that are worked on at a time in the backward pass


class Points(NamedTuple):
    """What a dense update is generated from.

    Attributes:
        p: [*batch, H, in, d], one point of each segment for every input.
        q: [*batch, H, out, d].
        mix: [*batch, 3], the numbers a, g and b of the mixed kernel; None for the others.
        order: the place of the threshold among the magnitudes, from 1; a tensor [*batch] if it changes over time.
    """

    p: Tensor
    q: Tensor
    mix: Tensor | None
    order: int | Int[Tensor, "*batch"]

    def wide(self) -> "Points":
        """The same in float32 or wider."""
        dtype = wide(self.p.dtype)
        return Points(self.p.to(dtype), self.q.to(dtype), None if self.mix is None else self.mix.to(dtype), self.order)

    def blocks(self) -> Iterator[slice]:
        """The inputs, cut so that a block of D has few entries."""
        inputs, per_input = self.p.shape[-2], math.prod(self.p.shape[:-3]) * self.q.shape[-2]
        rows = max(1, _BLOCK // per_input)
        return (slice(start, start + rows) for start in range(0, inputs, rows))


@dataclass(frozen=True)
class Rule:
    """How points make an update.

    Attributes:
        kernel: "piecewise", "mixed" or "linear".
        sparsifier: "code", "paper", "hard", or "none" for all of D.
        coefficients: c_h, one a segment.
    """

    kernel: Literal["piecewise", "mixed", "linear"]
    sparsifier: Literal["code", "paper", "hard", "none"]
    coefficients: tuple[float, ...]

    def order(self, sparsity: float, entries: int) -> int:
        """The place of the threshold, from 1, with which a share `sparsity` of the entries becomes zero.

        "paper" takes the ceil(s n)-th smallest magnitude. The others take the quantile at s (n - 1), counted from 0;
        whatever lies between its two neighbors cuts as the lower one does, since magnitudes must be above it.
        """
        share = Fraction(str(sparsity))  # as written: 0.07 * 100 is 7
        if self.sparsifier == "paper":
            return max(1, math.ceil(share * entries))
        return math.floor(share * (entries - 1)) + 1

    def threshold(self, values: Float[Tensor, "*batch in out"], order: int | Tensor) -> Float[Tensor, "*batch 1 1"]:
        """The magnitude at a place of the ascending order, exact for any number of entries."""
        sizes = values.detach().abs().flatten(-2)
        eager = sizes.device.type == "cpu" and not needs_plain_formula(sizes)
        if eager and (isinstance(order, int) or order.numel() == 1):  # ten times as fast as kthvalue on a CPU
            place = int(order) - 1
            sizes.numpy().partition(place)  # in its own memory, where kthvalue takes three times as much
            found = sizes[..., place].clone()
        elif isinstance(order, int):
            found = sizes.kthvalue(order, dim=-1).values
        else:  # another place for each matrix, or one that only the device knows
            found = sizes.sort(dim=-1).values.gather(-1, order[..., None] - 1).squeeze(-1)
        return found[..., None, None]

    def kept(self, values: Tensor, threshold: Tensor) -> Tensor:
        """S from D; autograd gives the derivative that `slope` states."""
        if self.sparsifier == "none":
            return values
        sizes = values.abs()
        kept = values * (sizes.detach() > threshold)  # a product, so that NaN stays NaN
        if self.sparsifier == "hard":
            return kept
        return kept * (sizes.detach() if self.sparsifier == "code" else sizes - threshold)

    def slope(self, values: Tensor, threshold: Tensor) -> Tensor:
        """dS/dD by entry."""
        if self.sparsifier == "none":
            return torch.ones_like(values)
        sizes = values.abs()
        above = sizes > threshold
        if self.sparsifier == "hard":
            return above.to(values.dtype)
        return torch.where(above, sizes if self.sparsifier == "code" else 2 * sizes - threshold, 0.0)


class Block:
    """D for some inputs.

    Attributes:
        values: D [*batch, rows, out].
    """

    def __init__(self, rule: Rule, points: Points, rows: slice = slice(None)) -> None:
        self.rule, self.mix = rule, points.mix
        self.segments = [
            (c, points.p[..., h, rows, :], points.q[..., h, :, :]) for h, c in enumerate(rule.coefficients)
        ]
        self.measured = [self._measure(p, q) for _, p, q in self.segments]
        kernel = self.segments[0][0] * self.measured[0]
        for (c, _, _), measured in zip(self.segments[1:], self.measured[1:], strict=True):
            kernel = torch.add(kernel, measured, alpha=c)
        self.kernel = self.values = kernel
        if self.mix is not None:
            a, g, b = self.mix[..., None, None].unbind(-3)
            self.soft = torch.softmax(kernel / g, dim=-1)
            self.values = kernel + a * self.soft + b

    def gradients(self, grad: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Those by these inputs' p, by q and by mix, from that by D."""
        grad_mix = None
        if self.mix is not None:
            a, g, _ = self.mix[..., None, None].unbind(-3)
            weighed = grad * self.soft
            mean = weighed.sum(-1, keepdim=True)
            inner = weighed - self.soft * mean
            by_g = -(a / g**2).squeeze((-2, -1)) * (inner * self.kernel).sum((-2, -1))
            grad_mix = torch.stack([weighed.sum((-2, -1)), by_g, grad.sum((-2, -1))], dim=-1)
            grad = grad + a / g * inner
        pairs = [self._pulled(grad, *one) for one in zip(self.segments, self.measured, strict=True)]
        return torch.stack([p for p, _ in pairs], dim=-3), torch.stack([q for _, q in pairs], dim=-3), grad_mix

    def _measure(self, p: Tensor, q: Tensor) -> Tensor:
        if self.rule.kernel == "linear":
            return p @ q.mT
        return torch.cdist(p, q, compute_mode="donot_use_mm_for_euclid_dist")

    def _pulled(self, grad: Tensor, segment: tuple[float, Tensor, Tensor], measured: Tensor) -> tuple[Tensor, Tensor]:
        c, p, q = segment
        if self.rule.kernel == "linear":
            return c * (grad @ q), c * (grad.mT @ p)
        ratio = (c * grad).div_(measured).masked_fill_(measured == 0, 0.0)
        by_p = ratio.sum(-1)[..., None] * p - ratio @ q
        return by_p, ratio.sum(-2)[..., None] * q - ratio.mT @ p

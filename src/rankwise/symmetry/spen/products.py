# SPDX-License-Identifier: Apache-2.0
"""One affine map for each of several runs of rows.

    y[rows of run r] = x[rows of run r] W_r + b_r

As split, products and a concatenation it would copy every row twice more, and as many times again for gradients.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def run_products(
    x: Float[Tensor, "rows d_in"],
    lengths: Sequence[int],
    weights: Sequence[Float[Tensor, "d_in d_out"]],
    biases: Sequence[Float[Tensor, " d_out"]] = (),
) -> Float[Tensor, "rows d_out"]:
    """The products of runs of rows, whose lengths add up to all rows, with a matrix each, and a bias each if any."""
    return _Products.apply(x, tuple(lengths), *weights, *biases)  # type: ignore[return-value]


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, lengths: tuple[int, ...], *parameters: Tensor) -> Tensor:
        weights, biases = parameters[: len(lengths)], parameters[len(lengths) :]
        ctx.lengths, ctx.biased = lengths, bool(biases)
        ctx.save_for_backward(x, *weights)
        result = x.new_empty(len(x), weights[0].shape[1])
        targets = result.split(lengths)
        for rows, weight, target in zip(x.split(lengths), weights, targets, strict=True):
            torch.mm(rows, weight, out=target)
        for bias, target in zip(biases, targets, strict=False):
            target.add_(bias)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x, *weights), (grad,), lengths = ctx.saved_tensors, grads, ctx.lengths
        to_x = run_products(grad, lengths, [weight.t() for weight in weights]) if ctx.needs_input_grad[0] else None
        given = grad.split(lengths)
        to_weights = [rows.t() @ run for rows, run in zip(x.split(lengths), given, strict=True)]
        return to_x, None, *to_weights, *(run.sum(dim=0) for run in given if ctx.biased)

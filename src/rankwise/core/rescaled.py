# SPDX-License-Identifier: Apache-2.0
"""Rescale the features of a layer's output and leave its bias where it is.

    y = u + c (u - b),   u [*, out] the output, c [out] the relative change of each feature's gain, b [out] the bias

so that c = 0 gives u to the last bit, and c keeps its digits in half precision, where 1 + c would be rounded to 1/128.
Saved for backward: u, which the gradient of c needs, c and b. The backward pass makes one tensor of the output's size
instead of plain autograd's three. Under torch.compile, functorch transforms and for tensor subclasses the plain formula
runs.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rankwise.core.lowrank import needs_plain_formula, without_autocast


def rescale(
    output: Float[Tensor, "..."], change: Float[Tensor, "..."], bias: Float[Tensor, "..."] | None = None
) -> Float[Tensor, "..."]:
    """Output plus change times what is above the bias.

    Args:
        output: a layer's output.
        change: relative change of the gain; broadcasts against `output`.
        bias: what the output holds for a zero input, of the shape of `change`; None for zero.

    Returns:
        output + change * (output - bias), in the dtype of `output`.
    """
    change = change.to(output.dtype)
    bias = None if bias is None else bias.to(output.dtype)
    if needs_plain_formula(output, change) or (bias is not None and needs_plain_formula(bias)):
        scaled = output + change * output
        return scaled if bias is None else scaled - change * bias
    return _Rescale.apply(output, change, bias)  # type: ignore[return-value]


class _Rescale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, output: Tensor, change: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(output, change, bias)
        with without_autocast(output):
            scaled = torch.addcmul(output, output, change)
            return scaled if bias is None else scaled.sub_(change * bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        output, change, bias = ctx.saved_tensors
        needs_output, needs_change, needs_bias = ctx.needs_input_grad
        grad_output = grad_change = grad_bias = products = None
        with without_autocast(grad):
            if needs_change:
                products = grad * output
                grad_change = products.sum_to_size(change.shape)
            if needs_output:  # in the memory of the products, unless a graph for double backward holds them
                reused = None if torch.is_grad_enabled() else products
                grad_output = torch.addcmul(grad, grad, change, out=reused)
            if bias is not None and (needs_change or needs_bias):
                total = grad.sum_to_size(change.shape)
                grad_change = None if grad_change is None else grad_change - bias * total
                grad_bias = -change * total if needs_bias else None
        return grad_output, grad_change, grad_bias

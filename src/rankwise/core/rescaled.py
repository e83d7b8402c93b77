# SPDX-License-Identifier: Apache-2.0
"""Rescale the features of a layer's output and leave its bias where it is.

    y = u + c (u - b),   u [*, out] the output, c [out] the relative change of each feature's gain, b [out] the bias

so that c = 0 gives u to the last bit, and a small c survives in half precision, where 1 + c would round to 1. Saved for
backward: u, which the gradient of c needs, c and b; plain autograd makes two more tensors of the output's size. Under
torch.compile, functorch transforms and for tensor subclasses the plain formula runs.
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
    if needs_plain_formula(output, change, *([] if bias is None else [bias])):
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
        with without_autocast(grad):
            total = None if bias is None else grad.sum_to_size(change.shape)
            grad_output = torch.addcmul(grad, grad, change) if needs_output else None
            grad_change = (grad * output).sum_to_size(change.shape) if needs_change else None
            if grad_change is not None and total is not None:
                grad_change = grad_change - total * bias
            grad_bias = -(change * total) if needs_bias and total is not None else None
        return grad_output, grad_change, grad_bias

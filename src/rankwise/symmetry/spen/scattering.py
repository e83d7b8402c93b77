# SPDX-License-Identifier: Apache-2.0
"""The sum of rows by place, keeping nothing but the places for its gradient.

torch's own index_add also keeps the summed rows, which its derivative needs only for their shape; they are the largest
tensors of a layer.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


def summed(
    values: Float[Tensor, "entries channels"], places: Int[Tensor, " entries"], rows: int
) -> Float[Tensor, "rows channels"]:
    """out[r] = sum of values[e] over all e with places[e] = r."""
    return _Sum.apply(values, places, rows)  # type: ignore[return-value]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, places: Tensor, rows: int) -> Tensor:
        ctx.save_for_backward(places)
        return values.new_zeros(rows, values.shape[1]).index_add(0, places, values)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (places,) = ctx.saved_tensors
        return grads[0].index_select(0, places), None, None

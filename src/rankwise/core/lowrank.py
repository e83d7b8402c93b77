# SPDX-License-Identifier: Apache-2.0
"""The fused step that adds a low-rank product to a linear layer's output.

    y = base + s (x right^T) left^T,   base [*, out], x [*, in], left [out, k], right [k, in], s a number

The product is accumulated into `base` by the matrix multiplication itself, so no second output-sized tensor is made.
Saved for backward: x (needed for the gradient of `right`), the bottleneck x right^T [tokens, k] and the two factors,
which is what plain autograd keeps. Both gradients of factors are taken with the thin side last, as grad^T bottleneck
and x^T (grad left): a CPU's matrix multiplication is up to twice as fast that way as with the thin side first. Under
torch.compile, functorch transforms and tensor subclasses the plain formula runs.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


class Product(NamedTuple):
    """The product scale * left @ right of two factors; a scale kept apart needs no scaled copy of a factor.

    Attributes:
        left: [*batch, out, k].
        right: [*batch, k, in].
        scale: a number in front.
    """

    left: Tensor
    right: Tensor
    scale: float = 1.0


def folded(product: Product) -> tuple[Tensor, Tensor]:
    """Both factors, the left one scaled."""
    return product.left if product.scale == 1.0 else product.left * product.scale, product.right


def add_low_rank(
    base: Float[Tensor, "*tokens out"],
    x: Float[Tensor, "*tokens in"],
    product: Product,
    *,
    inplace: bool = False,
    weight: Float[Tensor, "out in"] | None = None,
) -> Float[Tensor, "*tokens out"]:
    """Base plus the output of the product left @ right.

    Args:
        base: what the frozen layer gave; its dtype is the dtype of the computation.
        x: the layer's input.
        product: left [out, k], right [k, in] and their scale.
        inplace: whether `base` may be overwritten.
        weight: the frozen W of a plain linear layer if `base` is its output W x + b; its part of the gradient by x is
            then taken here too, in one tensor.

    Returns:
        base + s x right^T left^T, in the dtype of `base`.
    """
    left, right, scale = product
    if not base.dtype == x.dtype == left.dtype == right.dtype:
        x, left, right = x.to(base.dtype), left.to(base.dtype), right.to(base.dtype)
    if not inplace or needs_plain_formula(base, x, left, right) or not _writable(base):
        bottleneck = F.linear(x, right)
        return base + F.linear(bottleneck if scale == 1.0 else bottleneck * scale, left)
    if weight is None or not weight.dtype == x.dtype == base.dtype or needs_plain_formula(weight):
        weight = None
    if weight is not None or not base.requires_grad:  # no history to keep, or none that autograd would let us overwrite
        base = base.detach()
    return _AddLowRank.apply(base, x, left, right, weight, scale)


def needs_plain_formula(*tensors: Tensor) -> bool:
    """Whether a custom autograd function cannot be used: compilation, functorch transforms, tensor subclasses."""
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return True
    return any(type(tensor) not in (Tensor, torch.nn.Parameter) for tensor in tensors)


def without_autocast(tensor: Tensor) -> AbstractContextManager:
    """Leave autocast for a computation whose dtypes are settled; next to nothing where it is off."""
    device = tensor.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


class _AddLowRank(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, base: Tensor, x: Tensor, *given: Any) -> Tensor:
        left, right, weight, ctx.scale = given
        with without_autocast(base):
            bottleneck = F.linear(x.reshape(-1, x.shape[-1]), right)
            base.view(-1, base.shape[-1]).addmm_(bottleneck, left.t(), alpha=ctx.scale)
        ctx.mark_dirty(base)
        ctx.save_for_backward(x, bottleneck, left, right, weight)
        return base

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, bottleneck, left, right, weight = ctx.saved_tensors
        needs_x, needs_left, needs_right = ctx.needs_input_grad[1:4]
        with without_autocast(grad):
            flat, tokens = grad.reshape(-1, grad.shape[-1]), x.reshape(-1, x.shape[-1])
            if torch.is_grad_enabled():  # double backward: the bottleneck must be a function of x and right
                bottleneck = F.linear(tokens, right)
            inner = _times(flat @ left, ctx.scale)
            grad_left = _times(flat.t() @ bottleneck, ctx.scale) if needs_left else None
            grad_right = (tokens.t() @ inner).t() if needs_right else None
            grad_x = _gradient_of_input(grad, inner, right, weight) if needs_x else None
        return grad if weight is None else None, grad_x, grad_left, grad_right, None, None


def _times(fresh: Tensor, scale: float) -> Tensor:
    """A tensor that nobody else holds, scaled; in place unless the step itself is differentiated."""
    if scale == 1.0:
        return fresh
    return fresh * scale if torch.is_grad_enabled() else fresh.mul_(scale)


def _gradient_of_input(grad: Tensor, inner: Tensor, right: Tensor, weight: Tensor | None) -> Tensor:
    """(left right)^T grad, and W^T grad if W is given; of x's own shape and no view, so that autograd adds in place."""
    inner = inner.view(*grad.shape[:-1], len(right))
    if weight is None:
        return inner @ right
    both = grad @ weight
    both.view(-1, both.shape[-1]).addmm_(inner.view(-1, len(right)), right)
    return both


def _writable(base: Tensor) -> bool:
    """Whether autograd lets `base` be overwritten, and its memory holds token after token.

    A leaf that is trained cannot be, nor a view that a custom function gave back (bitsandbytes' 8-bit product does).
    """
    if not base.is_contiguous() or (base.is_leaf and base.requires_grad):
        return False
    return not (base._is_view() and isinstance(base.grad_fn, torch.autograd.function.BackwardCFunction))

# SPDX-License-Identifier: Apache-2.0
"""Apply the dense updates of `rankwise.adapters.kernels` without keeping anything dense for the backward pass.

    y = base + x S        or        y = base + x (S - S of the start)

Saved are x, the points P and Q, the mixed kernel's three numbers and the threshold. The backward pass computes D again,
a block of inputs at a time: from it the part of S that the gradient by x needs and, with that block of x^T grad, the
gradients by the points. So beside one S in the forward pass nothing of the weight's size exists but for a moment, when
the threshold is selected. Everything but the products with x runs in float32 or wider. Gradients of gradients are
refused. Under torch.compile, functorch transforms and for tensor subclasses the plain formula runs.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from rankwise.adapters.kernels import Block, Points, Rule
from rankwise.core.lowrank import needs_plain_formula, without_autocast


def generated(rule: Rule, points: Points) -> Float[Tensor, "*batch in out"]:
    """S for all inputs and outputs, in float32 or wider.

    Args:
        rule: kernel and sparsifier.
        points: what to generate from; gradients reach its p, q and mix.
    """
    points = points.wide()
    with without_autocast(points.p):
        if needs_plain_formula(points.p, points.q):
            values = Block(rule, points).values
            return values if rule.sparsifier == "none" else rule.kept(values, rule.threshold(values, points.order))
        return _Generated.apply(*points[:3], points.order, rule)


def add_generated(
    base: Float[Tensor, "*tokens out"], x: Float[Tensor, "*tokens in"], rule: Rule, points: Points, start: Points | None
) -> Float[Tensor, "*tokens out"]:
    """Base plus x S, keeping x, the points and the threshold for the backward pass and nothing dense.

    Args:
        base: what the layer gave; its dtype is the dtype of the product.
        x: the layer's input.
        rule: kernel and sparsifier.
        points: what S is generated from.
        start: points whose own S is subtracted from it, constants in the backward pass; None for nothing.
    """
    return _AddGenerated.apply(base, x, *points.wide()[:3], points.order, None if start is None else start.wide(), rule)


def _dense(rule: Rule, points: Points) -> tuple[Tensor, Tensor]:
    """S and the threshold, without autograd; D is filled in by blocks, so its parts are never all there at once."""
    batch, inputs, outputs = points.p.shape[:-3], points.p.shape[-2], points.q.shape[-2]
    values = points.p.new_empty(*batch, inputs, outputs)
    for rows in points.blocks():
        values[..., rows, :] = Block(rule, points, rows).values
    threshold = values.new_zeros(*batch, 1, 1)
    if rule.sparsifier != "none":
        threshold = rule.threshold(values, points.order)
        for rows in points.blocks():
            values[..., rows, :] = rule.kept(values[..., rows, :], threshold)
    return values, threshold


class _Generated(torch.autograd.Function):
    """S from the points, saving these and the threshold alone."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, q: Tensor, mix: Tensor | None, order: int | Tensor, rule: Rule) -> Tensor:
        values, threshold = _dense(rule, Points(p, q, mix, order))
        ctx.rule = rule
        ctx.save_for_backward(p, q, mix, threshold)
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        p, q, mix, threshold = ctx.saved_tensors
        total = _Total(ctx.rule, Points(p, q, mix, 0), threshold)
        with without_autocast(grad):
            for rows in total.points.blocks():
                total.add(rows, Block(ctx.rule, total.points, rows), grad[..., rows, :])
        return total.by_p, total.by_q, total.by_mix, None, None


class _AddGenerated(torch.autograd.Function):
    """Base + x S, or base + x (S - S of the start)."""

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - what autograd tracks is an argument of its own
        ctx: Any,
        base: Tensor,
        x: Tensor,
        p: Tensor,
        q: Tensor,
        mix: Tensor | None,
        order: int | Tensor,
        start: Points | None,
        rule: Rule,
    ) -> Tensor:
        ctx.rule, ctx.start = rule, start
        with without_autocast(base):
            values, threshold = _dense(rule, Points(p, q, mix, order))
            at_start = None
            if start is not None:
                before, at_start = _dense(rule, start)
                values -= before
            flat, tokens = base.reshape(-1, base.shape[-1]), x.reshape(-1, x.shape[-1]).to(base.dtype)
            output = torch.addmm(flat, tokens, values.to(base.dtype)).view(base.shape)
        ctx.save_for_backward(x, p, q, mix, threshold, at_start)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, p, q, mix, threshold, at_start = ctx.saved_tensors
        total, needs_x = _Total(ctx.rule, Points(p, q, mix, 0), threshold), ctx.needs_input_grad[1]
        with without_autocast(grad):
            flat, tokens = grad.reshape(-1, grad.shape[-1]), x.reshape(-1, x.shape[-1]).to(grad.dtype)
            grad_x = torch.empty_like(tokens) if needs_x else None
            for rows in total.points.blocks():
                block = Block(ctx.rule, total.points, rows)
                if grad_x is not None:
                    values = ctx.rule.kept(block.values, threshold)
                    if ctx.start is not None:
                        values = values - ctx.rule.kept(Block(ctx.rule, ctx.start, rows).values, at_start)
                    grad_x[:, rows] = flat @ values.to(grad.dtype).t()
                total.add(rows, block, (tokens[:, rows].t() @ flat).to(p.dtype))
        grad_x = None if grad_x is None else grad_x.view(x.shape).to(x.dtype)
        return grad, grad_x, total.by_p, total.by_q, total.by_mix, None, None, None


class _Total:
    """The gradients by the points, gathered block by block.

    Attributes:
        points: what S was generated from.
        by_p: gradient by p.
        by_q: by q.
        by_mix: by mix, None if the kernel has none.
    """

    def __init__(self, rule: Rule, points: Points, threshold: Tensor) -> None:
        self.rule, self.points, self.threshold = rule, points, threshold
        self.by_p, self.by_q = torch.empty_like(points.p), torch.zeros_like(points.q)
        self.by_mix: Tensor | None = None

    def add(self, rows: slice, block: Block, grad: Tensor) -> None:
        """Take a block of inputs in, from the gradient by its part of S."""
        by_p, by_q, by_mix = block.gradients(grad * self.rule.slope(block.values, self.threshold))
        self.by_p[..., rows, :] = by_p
        self.by_q += by_q
        if by_mix is not None:
            self.by_mix = by_mix if self.by_mix is None else self.by_mix + by_mix

# SPDX-License-Identifier: Apache-2.0
r"""GraphNorm in one operation, with torch-geometric's module as its definition.

    y = x - a mean(x),    out = w y / sqrt(mean(y^2) + eps) + b,      means over the rows of each graph.

As tensors the steps between are ten times the size of what they say. Reference: Cai, Luo, Xu, He, Liu, Wang, GraphNorm,
https://arxiv.org/abs/2009.03294.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numba import njit
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.nn import GraphNorm

from rankwise.symmetry.spen.scattering import summed


class SortedGraphNorm(GraphNorm):
    """GraphNorm of rows that are sorted by graph."""

    def forward(
        self, x: Float[Tensor, "rows d"], batch: Int[Tensor, " rows"], batch_size: int
    ) -> Float[Tensor, "rows d"]:
        """The normalized rows; `batch` is the graph of each row, ascending."""
        if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
            return super().forward(x, batch, batch_size)
        return _Norm.apply(x, batch, batch_size, self.eps, self.weight, self.bias, self.mean_scale)  # type: ignore[return-value]


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, batch: Tensor, graphs: int, eps: float, *parameters: Tensor) -> Tensor:
        lengths, result = batch.bincount(minlength=graphs), torch.empty_like(x, memory_format=torch.contiguous_format)
        means, roots = x.new_empty(2, graphs, x.shape[1])
        _normalize(_arrays(x, lengths), _arrays(*parameters), eps, _arrays(result, means, roots))
        ctx.eps = eps
        ctx.save_for_backward(x, batch, lengths, means, roots, *parameters)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, batch, lengths, means, roots, *parameters = ctx.saved_tensors
        if torch.is_grad_enabled():  # it is to be differentiated again
            result = _definition(x, batch, lengths, ctx.eps, parameters)
            inputs = (x, *parameters)
            found = iter(torch.autograd.grad(result, [t for t in inputs if t.requires_grad], grads, create_graph=True))
            to_x, *others = (next(found) if t.requires_grad else None for t in inputs)
            return to_x, None, None, None, *others
        to_x = torch.empty_like(x, memory_format=torch.contiguous_format)
        sums = x.new_empty(3, *means.shape)
        given, written = _arrays(x, lengths, grads[0], means, roots), _arrays(to_x, sums)
        _normalize_backward(given, _arrays(*parameters), written)
        return to_x, None, None, None, *sums.sum(dim=1)


def _definition(x: Tensor, batch: Tensor, lengths: Tensor, eps: float, parameters: list[Tensor]) -> Tensor:
    (weight, bias, mean_scale), graphs = parameters, len(lengths)
    shifted = x - (mean_scale * summed(x, batch, graphs) / lengths[:, None])[batch]
    squares = summed(shifted.square(), batch, graphs) / lengths[:, None]
    return weight * shifted / (squares + eps).sqrt()[batch] + bias


def _arrays(*tensors: Tensor) -> tuple[NDArray, ...]:
    return tuple(tensor.detach().contiguous().numpy() for tensor in tensors)


@njit(cache=True, nogil=True, fastmath={"contract"})
def _normalize(given, parameters, eps, written):
    """The result, and of each graph the means and 1 / sqrt(mean(y^2) + eps), [graphs, d]."""
    (x, lengths), (weight, bias, mean_scale), (result, means, roots) = given, parameters, written
    d, first = x.shape[1], 0
    means[:] = 0
    roots[:] = 0
    shift, scale = np.empty(d, x.dtype), np.empty(d, x.dtype)
    for graph in range(len(lengths)):
        last, mean, root = first + lengths[graph], means[graph], roots[graph]
        for row in range(first, last):
            values = x[row]
            for c in range(d):
                mean[c] += values[c]
        for c in range(d):
            mean[c] /= last - first
            shift[c] = mean_scale[c] * mean[c]
        for row in range(first, last):
            values = x[row]
            for c in range(d):
                root[c] += (values[c] - shift[c]) * (values[c] - shift[c])
        for c in range(d):
            root[c] = 1 / np.sqrt(root[c] / (last - first) + eps)
            scale[c] = weight[c] * root[c]
        for row in range(first, last):
            values, target = x[row], result[row]
            for c in range(d):
                target[c] = (values[c] - shift[c]) * scale[c] + bias[c]
        first = last


@njit(cache=True, nogil=True, fastmath={"contract"})
def _normalize_backward(given, parameters, written):
    """The gradient by x, and for each graph those by weight, bias and mean_scale, [3, graphs, d].

    With z = y / sqrt(..) and s = w / sqrt(..) it is s (g - z mean(g z)) by y, and by x that less a times its mean.
    """
    (x, lengths, grad, means, roots), (weight, _, mean_scale), (to_x, sums) = given, parameters, written
    d, first = x.shape[1], 0
    sums[:] = 0
    shift, along, mean = np.empty(d, x.dtype), np.empty(d, x.dtype), np.empty(d, x.dtype)
    for graph in range(len(lengths)):
        last, root = first + lengths[graph], roots[graph]
        by_weight, by_bias, by_mean_scale = sums[0, graph], sums[1, graph], sums[2, graph]
        for c in range(d):
            shift[c] = mean_scale[c] * means[graph, c]
        for row in range(first, last):
            values, gradient = x[row], grad[row]
            for c in range(d):
                by_weight[c] += gradient[c] * (values[c] - shift[c])
                by_bias[c] += gradient[c]
        for c in range(d):
            scale = weight[c] * root[c]
            by_weight[c] *= root[c]
            along[c] = by_weight[c] / (last - first) * root[c]
            total = scale * (by_bias[c] - along[c] * (last - first) * (means[graph, c] - shift[c]))
            by_mean_scale[c] = -means[graph, c] * total
            mean[c] = mean_scale[c] * total / (last - first)
        for row in range(first, last):
            values, gradient, target = x[row], grad[row], to_x[row]
            for c in range(d):
                rest = gradient[c] - along[c] * (values[c] - shift[c])
                target[c] = weight[c] * root[c] * rest - mean[c]
        first = last

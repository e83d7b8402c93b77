# SPDX-License-Identifier: Apache-2.0
"""How much the task loss asks of each weight's delta, measured while gradients flow backwards.

    score = sum_ij |delta_ij| * |dL / d delta_ij|        (or another sum over entries, `Scored.reduce`)

The gradient of a dense delta is g^T x, for the layer's input x and the gradient g by its output. It is never stored: a
linear layer's is made and reduced a block of rows at a time; convolutions and embeddings, and weights that are read
without calling their layer, need it whole for a moment. A score counts

- the task loss alone: a penalty on the factors does not pass through the delta;
- every call of a layer and every micro-batch: their scores are added up. A loss that is divided by the number of
  micro-batches, as gradient accumulation asks, makes that their average;
- one optimizer step: what was gathered while gradients were thrown away (a step that a loss scaler skipped, followed by
  `zero_grad()`) is dropped. `zero_grad(set_to_none=False)` hides that moment, so there only the entries that
  overflowed drop out, as NaN;
- all processes, by their mean, with the loss scale taken out: one reduction a step for all weights together.

Dropout on an adapter's input is part of its gradient, except on embeddings. Nothing is measured in evaluation mode, nor
once `stop_scores` was called: from then on a layer costs what it costs without a score.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise.core.adapter import Factored
from rankwise.core.lowrank import Product, folded
from rankwise.core.targets.base import Target
from rankwise.core.targets.linear import LinearTarget
from rankwise.errors import StateError
from rankwise.linalg.svd import wide

if TYPE_CHECKING:
    from rankwise.core.training import Training

_BLOCK = 2**22  # entries of the dense gradient that a linear layer makes at a time


class Scored(Factored):
    """A factored adapter whose dense delta can be scored.

    Attributes:
        probe: a number for each matrix of the weight whose gradient is the score; None while nothing is measured.
        watched: one of the adapter's tensors as the optimizer holds it; its gradient tells where a step begins.
    """

    probe: Tensor | None
    watched: nn.Parameter | None

    def __init__(self, target: Target, shared: nn.Module | None = None) -> None:
        super().__init__(target, shared)
        self.stop()

    def start(self) -> None:
        """Measure from the next forward pass on."""
        watched = next(p for p in self.parameters() if p.requires_grad)
        probe = torch.zeros(self.target.batch, dtype=wide(watched.dtype), device=watched.device, requires_grad=True)
        self.probe = probe
        object.__setattr__(self, "watched", watched)  # not registered a second time

    def stop(self) -> None:
        """Measure nothing from now on."""
        self.probe = None
        object.__setattr__(self, "watched", None)

    def take(self) -> Float[Tensor, "*batch"]:
        """The score since the last call, for each matrix of the weight.

        Raises:
            StateError: if nothing is measured.
        """
        if self.probe is None:
            raise StateError(f"no score of {self.target.name!r} is measured; attach(optimizer) starts it.")
        found, self.probe.grad = self.probe.grad, None
        return torch.zeros_like(self.probe) if found is None else found

    def reduce(
        self, delta: Float[Tensor, "*batch rows in"], gradient: Float[Tensor, "*batch rows in"]
    ) -> Float[Tensor, "*batch"]:
        """What some rows of the delta add to the score: sum |delta| |gradient|; a method may sum something else."""
        return (delta * gradient).abs().sum((-2, -1))

    def delta(self) -> Float[Tensor, "..."]:
        """Left @ right; scored here where no input ever comes by."""
        delta = super().delta()
        if self.target.called or not self._measures():
            return delta
        return _DenseScore.apply(delta, self._opened(), self)

    def add_product(self, x: Tensor, base: Tensor, product: Product, inplace: bool, own: bool) -> Tensor:
        """Base plus scale * left (right x); scored here where the layer is called."""
        if not self._measures():
            return super().add_product(x, base, product, inplace, own)
        left, right = folded(product)
        dropout = self.dropout
        if x.is_floating_point() and dropout:
            x, dropout = F.dropout(x, dropout), 0.0
        if torch.compiler.is_compiling() and not isinstance(self.target, LinearTarget):
            return self._add_dense(x, base, left @ right, dropout)
        output = self.target.add_product(base, x, Product(left, right), dropout, inplace, own)
        return _ProductScore.apply(output, x.detach(), left.detach(), right.detach(), self._opened(), self)

    def product_score(self, grad: Tensor, x: Tensor, left: Tensor, right: Tensor) -> Float[Tensor, "*batch"]:
        """The score of left @ right from the layer's input and the gradient by its output."""
        dtype = wide(grad.dtype) if grad.dtype == torch.float16 else grad.dtype
        grad, x = grad.to(dtype), x.to(dtype) if x.is_floating_point() else x
        left, right = left.to(wide(left.dtype)), right.to(wide(right.dtype))
        if not isinstance(self.target, LinearTarget):
            return self.reduce(left @ right, self.target.delta_gradient(x, grad, grad).to(left.dtype))
        outputs, tokens = grad.reshape(-1, left.shape[0]), x.reshape(-1, right.shape[1])
        rows = max(1, _BLOCK // right.shape[1])
        total = torch.zeros((), dtype=left.dtype, device=left.device)
        for start in range(0, left.shape[0], rows):
            block = slice(start, start + rows)
            total = total + self.reduce(left[block] @ right, (outputs[:, block].t() @ tokens).to(left.dtype))
        return total

    def _add_dense(self, x: Tensor, base: Tensor, delta: Tensor, dropout: float) -> Tensor:
        """For torch.compile, which cannot trace `delta_gradient` in a backward pass."""
        delta = _DenseScore.apply(delta.reshape(self.target.shape), self._opened(), self)
        product = self.target.apply(x, delta, base)
        return base + (product * F.dropout(torch.ones_like(product[..., :1]), dropout) if dropout else product)

    def _measures(self) -> bool:
        if self.probe is None or not self.training or not torch.is_grad_enabled():
            return False
        return not torch._C._are_functorch_transforms_active()

    def _opened(self) -> Tensor:
        """The probe, emptied if the gradients were since its last use: then a new step begins."""
        probe, watched = self.probe, self.watched
        assert probe is not None
        assert watched is not None
        if not torch.compiler.is_compiling() and torch._C._current_graph_task_id() == -1 and watched.grad is None:
            probe.grad = None
        return probe


def start_scores(training: "Training") -> None:
    """Measure the scores of all adapters that can be scored."""
    for adapter in _scored(training):
        adapter.start()


def stop_scores(training: "Training") -> None:
    """Measure no scores any more."""
    for adapter in _scored(training):
        adapter.stop()


def take_scores(training: "Training") -> Float[Tensor, " n"]:
    """The scores since the last call, the same on all processes: one a matrix, in the order of the adapters.

    Raises:
        StateError: if nothing is measured.
    """
    scores = [adapter.take().flatten() for adapter in _scored(training)]
    return training.mean(torch.cat([one.to(scores[0].device) for one in scores]))


class _ProductScore(torch.autograd.Function):
    """The output itself; its gradient leaves a score at the probe while it passes."""

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - what autograd tracks is an argument of its own
        ctx: Any, output: Tensor, x: Tensor, left: Tensor, right: Tensor, probe: Tensor, adapter: Scored
    ) -> Tensor:
        ctx.adapter = adapter
        ctx.save_for_backward(x, left, right)
        if torch.compiler.is_compiling():
            return output.view_as(output)
        ctx.mark_dirty(output)  # the next adapter may then add its product in place
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with torch.no_grad(), torch.autocast(grad.device.type, enabled=False):
            score = ctx.adapter.product_score(grad.detach(), *ctx.saved_tensors)
        return grad, None, None, None, score, None


class _DenseScore(torch.autograd.Function):
    """The dense delta itself; its gradient leaves a score at the probe while it passes."""

    @staticmethod
    def forward(ctx: Any, delta: Tensor, probe: Tensor, adapter: Scored) -> Tensor:
        ctx.adapter = adapter
        ctx.save_for_backward(delta)
        return delta.view_as(delta)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (delta,) = ctx.saved_tensors
        shape, dtype = ctx.adapter.target.matrix_shape, wide(delta.dtype)
        with torch.no_grad():
            score = ctx.adapter.reduce(delta.to(dtype).reshape(shape), grad.detach().to(dtype).reshape(shape))
        return grad, score, None


def _scored(training: "Training") -> Iterator[Scored]:
    return (adapter for adapter in training.adapters.values() if isinstance(adapter, Scored))

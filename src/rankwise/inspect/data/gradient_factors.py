# SPDX-License-Identifier: Apache-2.0
"""The gradient of a loss by linear layers' weights as two thin factors, without the gradient itself.

    G = d loss / d W = D^T Z,    Z [n, in] the layer's inputs,  D [n, out] the gradients by its outputs

One backward pass gives both through hooks. No weight has to be trainable: the first watched layer's output becomes the
leaf of the graph, so nothing below it is differentiated and no dense gradient is formed. For a layer with adapters, of
rankwise or PEFT, D belongs to the sum of base and adapters, so G is the gradient by a dense change of the weight; for
adapters that add to the weight that is the base weight's own gradient. A call counts when its gradient arrives: a layer
that runs twice adds up, and a forward pass that activation checkpointing repeats counts once. Inputs are kept until
the loss is differentiated; output gradients take less than the graph frees on the way back. Sharded models are not
supported.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rankwise.core.eval_mode import eval_mode
from rankwise.core.quantized import allow_rearranging, forbid_rearranging
from rankwise.errors import TargetError, nearest
from rankwise.recipes.errors import ModelError


@dataclass(frozen=True)
class Factors:
    """A gradient D^T Z.

    Attributes:
        inputs: Z; rows whose output gradient is 0 are left out.
        gradients: D.
    """

    inputs: Float[Tensor, "n in"]
    gradients: Float[Tensor, "n out"]

    @property
    def shape(self) -> tuple[int, int]:
        """[out, in] of the gradient."""
        return self.gradients.shape[1], self.inputs.shape[1]

    def dense(self) -> Float[Tensor, "out in"]:
        """The gradient itself, in float64."""
        return self.gradients.double().mT @ self.inputs.double()

    def block(self, rows: Int[Tensor, " chosen"]) -> "Factors":
        """The same for some rows of the weight."""
        return from_rows(self.inputs, self.gradients[:, rows.to(self.gradients.device)])


def from_rows(inputs: Float[Tensor, "n in"], gradients: Float[Tensor, "n out"]) -> Factors:
    """The factors without the rows that add nothing."""
    kept = gradients.ne(0).any(1)
    return Factors(inputs[kept], gradients[kept])


def gradient_factors(
    model: nn.Module, layers: Sequence[str], loss: Callable[[], Float[Tensor, ""]]
) -> tuple[float, dict[str, Factors]]:
    """The gradients by the weights of linear layers, in factors.

    The model runs in eval mode; its mode and `requires_grad` of its parameters come back afterwards.

    Args:
        model: holds the layers.
        layers: their paths in the model.
        loss: runs the model and gives a scalar.

    Returns:
        The loss, and the factors by path.

    Raises:
        TargetError: if the model has no such layer.
        ModelError: if a layer does not map one tensor to another, computes in less than float32, or no gradient reaches
            it.
    """
    modules = dict(model.named_modules())
    for name in layers:
        if name not in modules:
            raise TargetError(f"the model has no layer {name!r}. {nearest(name, modules)}")
    found: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in layers}
    with _only_watching(model), torch.enable_grad():
        hooks = [modules[name].register_forward_hook(_watcher(name, found[name]), with_kwargs=True) for name in layers]
        try:
            value = loss()
            if value.requires_grad:
                value.backward()
        finally:
            for hook in hooks:
                hook.remove()
    for name, calls in found.items():
        if not calls:
            raise ModelError(
                f"no gradient reached {name!r}: the loss does not depend on its output, or reentrant activation "
                "checkpointing cut the graph of a frozen model (pass use_reentrant=False)."
            )
    return float(value.detach()), {name: _stacked(calls) for name, calls in found.items()}


def _watcher(name: str, calls: list[tuple[Tensor, Tensor]]) -> Callable[..., Tensor | None]:
    def hook(module: nn.Module, args: tuple, kwargs: dict, output: Any) -> Tensor | None:
        if not torch.is_grad_enabled():  # the first of the two passes of reentrant checkpointing
            return None
        x = args[0] if args else next(iter(kwargs.values()), None)
        if not isinstance(x, Tensor) or not isinstance(output, Tensor) or x.shape[:-1] != output.shape[:-1]:
            raise ModelError(
                f"{name!r}, a {type(module).__name__}, does not map vectors to vectors; pass linear layers."
            )
        if output.dtype not in (torch.float32, torch.float64):
            raise ModelError(
                f"{name!r} computes in {str(output.dtype).removeprefix('torch.')}, whose rounding fills the spectrum "
                "of a gradient with noise; load the model in float32, without autocast."
            )
        watched = output if output.requires_grad else output.detach().requires_grad_()
        z = x.detach()
        watched.register_hook(lambda gradient: calls.append((z, gradient.detach())))
        return None if watched is output else watched.clone()  # a leaf itself could not be changed in place later on

    return hook


def _stacked(calls: list[tuple[Tensor, Tensor]]) -> Factors:
    inputs = [z.reshape(-1, z.shape[-1]).to(d.dtype) for z, d in calls]
    gradients = [d.reshape(-1, d.shape[-1]) for _, d in calls]
    return from_rows(torch.cat(inputs), torch.cat(gradients))


@contextmanager
def _only_watching(model: nn.Module) -> Iterator[None]:
    """Eval mode, frozen parameters, so that no dense gradient is computed, and 4-bit layers that pass gradients on."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rearranging = forbid_rearranging(model)
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        with eval_mode(model):
            yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
        allow_rearranging(rearranging.values())

# SPDX-License-Identifier: Apache-2.0
"""What layers read in a forward pass: as rows of numbers, without masked tokens, and which of them read the same.

Rows are a linear layer's input vectors, and the patches that a convolution multiplies its kernel with (those of all
groups). Two linear layers read the same if they read one tensor, or views of one, whose version and values did not
change in between; values are compared, never hashed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakTensorKeyDictionary

from rankwise.core.targets import LinearTarget, Target
from rankwise.errors import MethodError
from rankwise.linalg import wide

_HIDDEN = -100  # the label that transformers' losses ignore
Masks = dict[tuple[int, ...], Bool[Tensor, "..."]]


def watch(target: Target, take: Callable[[Tensor, Tensor], None]) -> RemovableHandle:
    """Call `take` with input and output at each call of a target's layer."""

    def hook(module: nn.Module, args: tuple, kwargs: dict, output: Tensor) -> None:
        take(args[0] if args else next(iter(kwargs.values())), output)

    return target.module.register_forward_hook(hook, with_kwargs=True)


def input_rows(target: Target, x: Tensor, output: Tensor, masks: Masks) -> Float[Tensor, "rows in"]:
    """The vectors that a layer multiplies its canonical matrix with, in float32 or wider.

    Args:
        target: of the layer.
        x: its input.
        output: its output, which fixes sizes that the input leaves open.
        masks: of the batch; they apply to linear layers whose input has the mask's leading dimensions.
    """
    x = x.detach().to(wide(x.dtype))
    if isinstance(target, LinearTarget):
        mask = masks.get(tuple(x.shape[:-1]))
        return x.reshape(-1, target.in_features) if mask is None else x[mask.to(x.device)]
    patches = target.down(x, torch.eye(target.in_features, dtype=x.dtype, device=x.device), output)
    return patches.movedim(target.channel_dim, -1).reshape(-1, target.in_features)


def token_masks(batch: Any, use_label_mask: bool) -> Masks:
    """The tokens of a batch that count, by the leading shape of the layer inputs that they are told for.

    Args:
        batch: a mapping with `attention_mask`, `labels` or neither; nothing else tells masks.
        use_label_mask: whether tokens whose label is -100 are left out.

    Raises:
        MethodError: if `attention_mask` is not [batch, tokens].
    """
    if not isinstance(batch, Mapping) or not isinstance(batch.get("attention_mask", batch.get("input_ids")), Tensor):
        return {}
    shown = batch["attention_mask"] != 0 if "attention_mask" in batch else torch.ones_like(batch["input_ids"]).bool()
    if shown.ndim != 2:
        raise MethodError(
            f"attention_mask of a calibration batch has shape {list(shown.shape)}; expected [batch, tokens], 0 for "
            "padding."
        )
    labels = batch.get("labels")
    if use_label_mask and isinstance(labels, Tensor) and labels.shape == shown.shape:
        shown = shown & (labels != _HIDDEN).to(shown.device)
    return {tuple(shown.shape): shown, (shown.numel(),): shown.flatten()}


@dataclass
class Inputs:
    """Which inputs the targets read in one forward pass, by number in order of appearance.

    Attributes:
        calls: the inputs that each target read, by its name.
        count: how many inputs there were.
        known: those whose tensor is still alive; a copy of each is kept for as long.
    """

    calls: dict[str, list[int]] = field(default_factory=dict)
    count: int = 0
    known: WeakTensorKeyDictionary = field(default_factory=WeakTensorKeyDictionary)

    def read(self, target: Target, x: Tensor) -> None:
        """Note that a target reads `x`."""
        self.calls.setdefault(target.name, []).append(self._number(target, x))

    def _number(self, target: Target, x: Tensor) -> int:
        self.count += 1
        if not isinstance(target, LinearTarget) or x.is_inference():  # those have no version
            return self.count
        storage = x if x._base is None else x._base
        entries: list = self.known.get(storage) or []
        self.known[storage] = entries
        for version, values, number in entries:
            if version == x._version and values.shape == x.shape and torch.equal(values, x):
                return number
        entries.append((x._version, x.clone(), self.count))
        return self.count

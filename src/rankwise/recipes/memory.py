# SPDX-License-Identifier: Apache-2.0
"""How much memory a run will need, measured on a small piece of it, and how much it has needed.

    weights + 3 x trainable (gradients, two moments of Adam) + activations of the largest batch + its logits twice

What autograd keeps for one short sequence is counted by a hook on saved tensors and scaled to the tokens of the largest
batch: attention kernels that keep no score matrix make it linear. Fragmentation and the libraries are not counted.
"""

import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rankwise.recipes.batches import Collator
from rankwise.recipes.encode import Encoded

_PROBE = 48  # tokens


@dataclass(frozen=True)
class Prediction:
    """Bytes that training will need.

    Attributes:
        weights: the model with its adapters.
        training: gradients and optimizer state.
        activations: what the largest batch keeps for the backward pass, its logits included.
    """

    weights: int
    training: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.training + self.activations


def predict(model: PreTrainedModel, items: Sequence[Encoded], batch_size: int, collator: Collator) -> Prediction:
    """Predict the memory of training on `items`, whose longest decide the largest batch."""
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    weights += sum(b.numel() * b.element_size() for b in model.buffers())
    trainable = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    longest = max(items, key=lambda item: len(item.input_ids))
    tokens = batch_size * len(longest.input_ids)
    probe = collator([Encoded(longest.input_ids[:_PROBE], longest.labels[:_PROBE])])
    kept, logits = _kept_by_autograd(model, {name: value.to(model.device) for name, value in probe.items()})
    count = probe["input_ids"].numel()
    return Prediction(weights, 3 * trainable, tokens * (kept + 2 * logits) // count)


def peak() -> int:
    """The most memory in bytes that this process has held: on the GPU if there is one, else of the host."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def in_words(size: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


def _kept_by_autograd(model: PreTrainedModel, batch: dict[str, Tensor]) -> tuple[int, int]:
    """Bytes that a forward pass keeps for the backward pass, and bytes of its logits in float32."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    before = model.training
    model.eval()
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        output = model(**batch)
    model.train(before)
    return sum(kept.values()), output.logits.numel() * 4

# SPDX-License-Identifier: Apache-2.0
"""Inputs of a forward pass that are not the layer's own: adapter names and gate values, one per example.

A context is entered with `adaptation.context(...)` and read by the adapters at every layer, so nothing is threaded
through the model's forward. One model is driven by one thread at a time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rankwise.errors import StateError


@dataclass(frozen=True)
class Context:
    """Per-example adapter names and values.

    Attributes:
        adapters: one adapter name for each example, None for the base alone; None if every example uses the active set.
        values: named inputs of the methods, each a tensor of shape [examples, ...] or a scalar that holds for all.
        batch_dim: the dimension of a layer's input that counts examples.
    """

    adapters: tuple[str | None, ...] | None = None
    values: Mapping[str, Tensor] = field(default_factory=dict)
    batch_dim: int = 0

    @property
    def examples(self) -> int | None:
        """How many examples the context describes; None if it holds for any number."""
        if self.adapters is not None:
            return len(self.adapters)
        return next((len(value) for value in self.values.values() if value.ndim > 0), None)

    def rows(self, size: int, device: torch.device) -> Iterator[tuple[str | None, Tensor]]:
        """Yield each distinct adapter name with the rows of a batch of `size` that use it.

        Raises:
            StateError: if `size` is not a multiple of the number of examples.
        """
        names = self.adapters or ()
        repeat = self._repeat(size)
        for name in dict.fromkeys(names):
            index = torch.tensor([i for i, other in enumerate(names) if other == name], device=device)
            offsets = torch.arange(repeat, device=device)
            yield name, (index[:, None] * repeat + offsets).flatten()

    def expanded(self, name: str, size: int) -> Tensor:
        """A named value with one row for each row of a batch of `size`; examples may span several rows.

        Raises:
            StateError: if `size` is not a multiple of the number of examples.
        """
        value = self.values[name]
        return value if value.ndim == 0 else value.repeat_interleave(self._repeat(size), dim=0)

    def part(self, rows: Tensor, size: int) -> "Context":
        """The values of some rows of a batch of `size`, for the adapter that computes just these."""
        values = {name: self.expanded(name, size) for name in self.values}
        chosen = {name: value if value.ndim == 0 else value[rows.to(value.device)] for name, value in values.items()}
        return Context(None, chosen, self.batch_dim)

    def single(self, example: int) -> "Context":
        """The context of one example, as one that holds for a whole batch."""
        values = {name: value if value.ndim == 0 else value[example] for name, value in self.values.items()}
        names = None if self.adapters is None else (self.adapters[example],)
        return Context(names, values, self.batch_dim)

    def distinct(self) -> list[tuple["Context", list[int]]]:
        """The distinct single-example contexts, each with the examples that share it.

        In a compiled graph, whose shape cannot depend on values, every example is one of its own.
        """
        if torch.compiler.is_compiling():
            return [(self.single(example), [example]) for example in range(self.examples or 0)]
        groups: dict[tuple, tuple[Context, list[int]]] = {}
        for example in range(self.examples or 0):
            one = self.single(example)
            key = (one.adapters, *((name, *value.flatten().tolist()) for name, value in one.values.items()))
            groups.setdefault(key, (one, []))[1].append(example)
        return list(groups.values())

    def _repeat(self, size: int) -> int:
        examples = self.examples or 1
        if size % examples:
            raise StateError(
                f"the context describes {examples} examples, but a layer's input has {size} rows along dimension "
                f"{self.batch_dim}; expected {examples} or a multiple of it (several rows to an example). "
                "Pass one entry for each example, or batch_dim=1 for sequence-first inputs."
            )
        return size // examples


def make_context(
    adapters: Sequence[str | None] | None, values: Mapping[str, Tensor | float | Sequence[float]], batch_dim: int
) -> Context:
    """Check and normalize what a user passes to `adaptation.context`.

    Raises:
        StateError: if nothing was passed, or the entries disagree about the number of examples.
    """
    tensors = {name: _tensor(value) for name, value in values.items()}
    tensors = {name: v.flatten() if v.ndim == 2 and v.shape[1] == 1 else v for name, v in tensors.items()}
    if adapters is None and not tensors:
        raise StateError("context() was given nothing; pass adapters=[one name for each example] or a method's input.")
    sizes = {name: len(value) for name, value in tensors.items() if value.ndim > 0}
    if adapters is not None:
        sizes["adapters"] = len(adapters)
    if len(set(sizes.values())) > 1 or 0 in sizes.values():
        raise StateError(f"context() needs one entry for each example in every argument, got lengths {sizes}.")
    return Context(None if adapters is None else tuple(adapters), tensors, batch_dim)


def _tensor(value: Tensor | float | Sequence[float]) -> Tensor:
    """A value as a tensor; Python's numbers keep their 64 bits."""
    if isinstance(value, Tensor):
        return value
    found = torch.as_tensor(value)
    return torch.as_tensor(value, dtype=torch.float64) if found.is_floating_point() else found

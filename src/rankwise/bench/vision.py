# SPDX-License-Identifier: Apache-2.0
"""What the tasks on images share: examples with their task ids and qualities, their batches, and how they are run.

A batch has "x" and "y", and the two values "task" and "quality" for methods that read them.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rankwise.bench.task import Adapted, Batch, Bench, BenchError

_AT_ONCE = 250  # examples that are scored in one forward pass


@dataclass(frozen=True)
class Examples:
    """Images with what is known about each of them.

    Attributes:
        x: the network's input.
        y: the answer, a class or a mask.
        task: the id of the domain.
        quality: between 0, poor, and 1, good.
    """

    x: Float[Tensor, "n 1 rows columns"]
    y: Tensor
    task: Int[Tensor, " n"]
    quality: Float[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device) -> "Examples":
        """The same on a device."""
        return Examples(*(getattr(self, one.name).to(device) for one in fields(self)))

    def part(self, index: Tensor | slice) -> Batch:
        """Some of the examples as a batch."""
        return {one.name: getattr(self, one.name)[index] for one in fields(self)}

    def batches(self, count: int, size: int, seed: int) -> Iterator[Batch]:
        """That many batches; no example comes again before all others had their turn."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.empty(0, dtype=torch.long)
        for _ in range(count):
            while len(order) < size:
                order = torch.cat([order, torch.randperm(len(self), generator=generator)])
            chosen, order = order[:size], order[size:]
            yield self.part(chosen.to(self.x.device))


def plain(x: Tensor, y: Tensor) -> Examples:
    """Examples of the first domain and of full quality."""
    return Examples(x, y, torch.zeros(len(x), dtype=torch.long), torch.ones(len(x)))


def parted(indices: Int[Tensor, " n"], *sizes: int) -> list[Int[Tensor, " size"]]:
    """Consecutive parts of a list of examples, which therefore have none in common.

    Raises:
        BenchError: if there are not enough examples.
    """
    if sum(sizes) > len(indices):
        raise BenchError(
            f"the splits take {' + '.join(map(str, sizes))} images, but there are {len(indices)} of their classes; "
            "make them smaller."
        )
    return list(indices[: sum(sizes)].split(list(sizes)))


def accuracy(output: Float[Tensor, "n classes"], y: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """1 for each example whose class has the largest output, 0 for the others."""
    return (output.argmax(1) == y).float()


class ImageBench(Bench):
    """A bench of images; a task says what it loses and how it is scored.

    Args:
        base: the pre-trained model, on the device that the examples are on.
        train: the examples to adapt to.
        size: examples in a batch.
    """

    values = ("task", "quality")

    def __init__(self, base: nn.Module, train: Examples, size: int) -> None:
        self.original, self.train, self.size = base, train, size

    def base(self, seed: int) -> nn.Module:
        """A copy of the base."""
        return deepcopy(self.original)

    def head(self, model: nn.Module) -> list[nn.Parameter]:
        """None: what the base has learned to answer stays."""
        return []

    def batches(self, count: int, seed: int) -> Iterator[Batch]:
        """Shuffled training batches."""
        return self.train.batches(count, self.size, seed)

    def calibration(self, count: int, seed: int) -> Iterator[Batch]:
        """Batches as the model takes them, `model(**batch)`."""
        return ({"x": batch["x"]} for batch in self.batches(count, seed))

    def run(self, adapted: Adapted, batch: Batch) -> Tensor:
        """The model's output, each example in the context of its task id and quality."""
        with adapted.context(task=batch["task"], quality=batch["quality"]):
            return adapted.model(batch["x"])

    def mean(self, adapted: Adapted, examples: Examples, measure: Callable[[Tensor, Tensor], Tensor]) -> float:
        """The mean over examples of measure(output, y)."""
        parts = (examples.part(slice(start, start + _AT_ONCE)) for start in range(0, len(examples), _AT_ONCE))
        return float(torch.cat([measure(self.run(adapted, one), one["y"]) for one in parts]).mean())

# SPDX-License-Identifier: Apache-2.0
"""New classes: a vision transformer that knows five classes of clothes learns the other five.

It is pre-trained on classes 0 to 4 of Fashion-MNIST and gets a second head for classes 5 to 9, which trains beside the
adapter. The first head stays as it is; how well it still answers for its classes is the retention. Every second of the
new classes' images has lost resolution to a known degree s between 0.25 and 1, (1 - s) x + s low(x); its quality is
1 - s, and that of all other images is 1.
"""

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise.bench.images import Labeled, coarser, fashion_mnist, pixels
from rankwise.bench.task import Adapted, Batch, Scores
from rankwise.bench.vision import Examples, ImageBench, accuracy, parted, plain
from rankwise.bench.vit import ENCODER, Classifier, VisionTransformerTask
from rankwise.recipes.models import device

_KNOWN, _NEW_HEAD = 5, 1  # classes of the base, and the place of the head beside its own
_SEED = 20  # of the splits


@dataclass(frozen=True)
class FashionHalves(VisionTransformerTask):
    """Five new classes of Fashion-MNIST for a vision transformer that knows the other five."""

    name: ClassVar[str] = "fashion"
    quality: ClassVar[str] = "accuracy on five new classes"
    retention: ClassVar[str] = "accuracy of the old head on the five old classes"
    higher_is_better: ClassVar[bool] = True

    def prepare(self, data: Path | None, cache: Path) -> "FashionBench":
        """Read Fashion-MNIST, and read or pre-train the base.

        Raises:
            BenchError: if Fashion-MNIST is not there, is damaged, or has too few images for the splits.
        """
        (train, test), generator = fashion_mnist(data), torch.Generator().manual_seed(_SEED)
        (pretraining,) = parted(_shuffled(train.labels < _KNOWN, generator), self.pretraining)
        adapted, validated = parted(_shuffled(train.labels >= _KNOWN, generator), self.adapted, self.validated)
        (new,) = parted(_shuffled(test.labels >= _KNOWN, generator), self.tested)
        (old,) = parted(_shuffled(test.labels < _KNOWN, generator), self.tested)
        splits = [_mixed(*one, generator) for one in ((train, adapted), (train, validated), (test, new))]
        splits = [one.to(device()) for one in (*splits, _known(test, old))]
        return FashionBench(self.classifier(cache, _known(train, pretraining), _KNOWN), splits, self.batch_size)


class FashionBench(ImageBench):
    """The base that knows the old classes.

    Args:
        base: the pre-trained transformer.
        splits: images of the new classes to train, to validate and to test with, and of the old classes to test with.
        size: examples in a batch.
    """

    targets = ENCODER

    def __init__(self, base: Classifier, splits: list[Examples], size: int) -> None:
        train, self.validation, self.test, self.old = splits
        super().__init__(base, train, size)
        self.known = base

    def base(self, seed: int) -> nn.Module:
        """A copy of the base with a head for the new classes, from the seed."""
        model = deepcopy(self.known)
        model.add_head(10 - _KNOWN, torch.Generator().manual_seed(seed))
        return model

    def head(self, model: nn.Module) -> list[nn.Parameter]:
        """The new head."""
        return list(model.get_submodule(f"heads.{_NEW_HEAD}").parameters())

    def loss(self, adapted: Adapted, batch: Batch) -> Tensor:
        """Cross entropy over the new classes."""
        return F.cross_entropy(_new(self.run(adapted, batch)), batch["y"])

    def score(self, adapted: Adapted) -> Scores:
        """Accuracies of the new head on the new classes, and of the old one on the old classes."""

        def new(output: Tensor, y: Tensor) -> Tensor:
            return accuracy(_new(output), y)

        def old(output: Tensor, y: Tensor) -> Tensor:
            return accuracy(output[:, :_KNOWN], y)

        measured = ((self.validation, new), (self.test, new), (self.old, old))
        return Scores(*(self.mean(adapted, examples, measure) for examples, measure in measured))


def _new(output: Tensor) -> Tensor:
    return output[:, _KNOWN:]


def _shuffled(wanted: Tensor, generator: torch.Generator) -> Tensor:
    indices = wanted.nonzero().flatten()
    return indices[torch.randperm(len(indices), generator=generator)]


def _known(source: Labeled, indices: Tensor) -> Examples:
    return plain(pixels(source.images[indices]), source.labels[indices].long())


def _mixed(source: Labeled, indices: Tensor, generator: torch.Generator) -> Examples:
    """Images of the new classes, every second one of a lower quality."""
    strength = 0.25 + 0.75 * torch.rand(len(indices), generator=generator)
    strength[::2] = 0
    x, y = coarser(pixels(source.images[indices]), strength), source.labels[indices].long() - _KNOWN
    return Examples(x, y, torch.zeros_like(y), 1 - strength)

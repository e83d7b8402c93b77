# SPDX-License-Identifier: Apache-2.0
"""Domains that were never seen: a vision transformer learns clothes under some angles and is judged under others.

It is pre-trained on upright images of Fashion-MNIST and adapted, with its head frozen, to images under the source
angles, each angle one domain. The quality is the mean accuracy over angles that are in no split but the test; even the
learning rate is chosen under the source angles. An image under a held-out angle has the id of the nearest source
domain. The question is that of PEGO, arXiv 2407.15085.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from rankwise.bench.images import Labeled, fashion_mnist, pixels, turned
from rankwise.bench.task import Adapted, Batch, Scores
from rankwise.bench.vision import Examples, ImageBench, accuracy, parted, plain
from rankwise.bench.vit import ENCODER, Classifier, VisionTransformerTask
from rankwise.recipes.models import device

_SEED = 21  # of the splits


@dataclass(frozen=True)
class Rotations(VisionTransformerTask):
    """Fashion-MNIST under angles that were not adapted to.

    Attributes:
        sources: the angles in degrees that are adapted to.
        unseen: those that are judged.
    """

    name: ClassVar[str] = "rotations"
    quality: ClassVar[str] = "accuracy under angles that were not adapted to"
    retention: ClassVar[str] = "accuracy on upright images"
    higher_is_better: ClassVar[bool] = True

    sources: tuple[float, ...] = (15.0, 40.0, 65.0)
    unseen: tuple[float, ...] = (28.0, 53.0, 80.0)  # two between the sources, one beyond them

    def prepare(self, data: Path | None, cache: Path) -> "RotationsBench":
        """Read Fashion-MNIST, and read or pre-train the base.

        Raises:
            BenchError: if Fashion-MNIST is not there, is damaged, or has too few images for the splits.
        """
        (train, test), generator = fashion_mnist(data), torch.Generator().manual_seed(_SEED)
        order = torch.randperm(len(train.labels), generator=generator)
        pretraining, adapted, validated = parted(order, self.pretraining, self.adapted, self.validated)
        (tested,) = parted(torch.randperm(len(test.labels), generator=generator), self.tested)
        upright = plain(pixels(train.images[pretraining]), train.labels[pretraining].long())
        angles = ((train, adapted, self.sources), (train, validated, self.sources), (test, tested, self.unseen))
        splits = [_under(*one, self.sources) for one in (*angles, (test, tested, (0.0,)))]
        return RotationsBench(
            self.classifier(cache, upright, 10),
            [one.to(device()) for one in splits],
            self.batch_size,
            len(self.sources),
        )


class RotationsBench(ImageBench):
    """The base that knows upright images.

    Args:
        base: the pre-trained transformer.
        splits: images to train and to validate with under the source angles, and to test with under held-out angles
            and upright.
        size: examples in a batch.
        domains: how many source angles there are.
    """

    targets = ENCODER

    def __init__(self, base: Classifier, splits: list[Examples], size: int, domains: int) -> None:
        train, self.validation, self.test, self.upright = splits
        super().__init__(base, train, size)
        self.domains = domains

    def loss(self, adapted: Adapted, batch: Batch) -> Tensor:
        """Cross entropy."""
        return F.cross_entropy(self.run(adapted, batch), batch["y"])

    def score(self, adapted: Adapted) -> Scores:
        """Accuracies under the source angles, under the held-out ones and upright."""
        return Scores(*(self.mean(adapted, one, accuracy) for one in (self.validation, self.test, self.upright)))


def _under(source: Labeled, indices: Tensor, angles: Sequence[float], sources: Sequence[float]) -> Examples:
    """Images dealt out to the angles in turn, each with the id of the nearest source angle."""
    parts = []
    for position, angle in enumerate(angles):
        own = indices[position :: len(angles)]
        nearest = min(range(len(sources)), key=lambda domain: abs(sources[domain] - angle))
        images, task = turned(pixels(source.images[own]), angle), torch.full((len(own),), nearest)
        parts.append(Examples(images, source.labels[own].long(), task, torch.ones(len(own))))
    return Examples(*(torch.cat(columns) for columns in zip(*(vars(one).values() for one in parts), strict=True)))

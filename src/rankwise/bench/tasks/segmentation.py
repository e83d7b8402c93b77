# SPDX-License-Identifier: Apache-2.0
"""Another domain: a U-Net that finds bright round shapes learns to find dark striped bars under a ramp of intensity.

Both domains are drawn from a seed: discs and ellipses in noise for the source; for the target bars of any direction,
striped and on average darker than what is around them, in noise and a ramp of any direction. Each image has noise of
its own strength, and its quality falls from 1 for the least to 0 for the most. The loss is cross entropy + 1 - soft
Dice; what is reported is the Dice coefficient 2 |A and B| / (|A| + |B|) of each image. The stem and the output layer
stay frozen, and `parts` chooses among the other modules, the question of arXiv 2508.01772.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise.bench.pretrained import fit, pretrained
from rankwise.bench.task import Adapted, Batch, BenchError, Scores, Task
from rankwise.bench.vision import Examples, ImageBench
from rankwise.errors import listed
from rankwise.recipes.models import device

PARTS = ("encoder", "bottleneck", "skip", "decoder")
_SEED = 22  # of the images and of the base's start
_NOISE = (0.1, 0.5)  # the least and the most


@dataclass(frozen=True)
class Segmentation(Task):
    """Dark bars for a U-Net that knows bright discs.

    Attributes:
        parts: the modules whose 3x3 convolutions are adapted.
        batch_size: images of a training batch.
        adapted: images of the target domain to adapt to.
        validated: images that choose the learning rate.
        tested: images of each domain to judge on.
        pretraining_steps: optimizer steps of the pre-training, each on new images.
        pretraining_rate: its highest learning rate.
        width: channels of the first level; the second has twice as many.
        side: of the images.
    """

    name: ClassVar[str] = "segmentation"
    quality: ClassVar[str] = "Dice coefficient on the new domain"
    retention: ClassVar[str] = "Dice coefficient on the old domain"
    higher_is_better: ClassVar[bool] = True

    parts: tuple[str, ...] = PARTS
    steps: int = 80
    batch_size: int = 12
    adapted: int = 96
    validated: int = 64
    tested: int = 128
    pretraining_steps: int = 400
    pretraining_rate: float = 4e-3
    width: int = 16
    side: int = 32

    def __post_init__(self) -> None:
        """Check the names of parts."""
        unknown = set(self.parts) - set(PARTS)
        if unknown or not self.parts:
            raise BenchError(f"parts has {listed(unknown)}; allowed are some of {listed(PARTS)}, at least one.")

    def prepare(self, data: Path | None, cache: Path) -> "SegmentationBench":
        """Draw the images, and read or pre-train the base."""
        generator = torch.Generator().manual_seed(_SEED)
        splits = [bars(count, self.side, generator) for count in (self.adapted, self.validated, self.tested)]
        splits.append(discs(self.tested, self.side, generator))
        splits = [one.to(device()) for one in splits]
        return SegmentationBench(self._base(cache).to(device()), splits, self.batch_size, self.parts)

    def _base(self, cache: Path) -> nn.Module:
        names = ("pretraining_steps", "pretraining_rate", "batch_size", "width", "side")

        def build() -> UNet:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(_SEED)
                return UNet(self.width)

        def train(model: nn.Module) -> None:
            model.to(device())
            fit(model, self._losses(model), self.pretraining_steps, self.pretraining_rate)

        return pretrained(cache, self.name, {name: getattr(self, name) for name in names}, build, train)

    def _losses(self, model: nn.Module) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(_SEED + 1)
        for _ in range(self.pretraining_steps):
            images = discs(self.batch_size, self.side, generator).to(device())
            yield overlap_loss(model(images.x), images.y)


class SegmentationBench(ImageBench):
    """The base that knows the source domain.

    Args:
        base: the pre-trained U-Net.
        splits: images of the target domain to train, to validate and to test with, and of the source to test with.
        size: examples in a batch.
        parts: the modules that are adapted.
    """

    def __init__(self, base: nn.Module, splits: list[Examples], size: int, parts: tuple[str, ...]) -> None:
        train, self.validation, self.test, self.source = splits
        super().__init__(base, train, size)
        self.targets = rf"({'|'.join(parts)})\..*"

    def loss(self, adapted: Adapted, batch: Batch) -> Tensor:
        """Cross entropy + 1 - soft Dice."""
        return overlap_loss(self.run(adapted, batch), batch["y"])

    def score(self, adapted: Adapted) -> Scores:
        """Dice coefficients on the target domain's two splits and on the source domain."""
        return Scores(*(self.mean(adapted, one, dice) for one in (self.validation, self.test, self.source)))


class UNet(nn.Module):
    """Two levels below a stem that halves the sides; every skip connection has a convolution of its own.

    Args:
        width: channels of the first level; the second has twice as many.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, stride=2, padding=1)
        self.encoder = nn.ModuleList([_conv(width, width), _conv(width, 2 * width)])
        self.bottleneck = nn.ModuleList([_conv(2 * width, 2 * width)])
        self.skip = nn.ModuleList([_conv(width, width), _conv(2 * width, 2 * width)])
        self.decoder = nn.ModuleList([_conv(4 * width, width), _conv(2 * width, width)])
        self.output = nn.Conv2d(width, 4, 1)

    def forward(self, x: Float[Tensor, "n 1 side side"]) -> Float[Tensor, "n 1 side side"]:
        """A logit for each pixel; each place of the first level answers for four."""
        first = F.relu(self.encoder[0](F.relu(self.stem(x))))
        second = F.relu(self.encoder[1](F.max_pool2d(first, 2)))
        up = F.relu(self.bottleneck[0](F.max_pool2d(second, 2)))
        for decoder, skip, across in zip(self.decoder, (self.skip[1], self.skip[0]), (second, first), strict=True):
            up = F.relu(decoder(torch.cat([F.interpolate(up, scale_factor=2.0), F.relu(skip(across))], dim=1)))
        return F.pixel_shuffle(self.output(up), 2)


def discs(count: int, side: int, generator: torch.Generator) -> Examples:
    """The source domain: a bright disc or ellipse in each image."""
    mask = _ellipse(*_axes(count, side, generator), 0.1 * side, 0.25 * side, generator)
    return _noisy(1.5 * mask.float(), mask, generator)


def bars(count: int, side: int, generator: torch.Generator) -> Examples:
    """The target domain: a dark, striped bar in each image, under a ramp."""
    along, across = _axes(count, side, generator)
    mask = (along.abs() < 0.28 * side) & (across.abs() < 0.09 * side)
    stripes = 0.8 * torch.sin(along * (2 * math.pi * 5 / side))
    angle = 2 * math.pi * torch.rand(count, 1, 1, generator=generator)
    rows, columns = _grid(side)
    ramp = (rows * angle.sin() + columns * angle.cos()) / side
    return _noisy(ramp + mask * (stripes - 0.2), mask, generator)


def dice(output: Float[Tensor, "n 1 rows columns"], y: Float[Tensor, "n 1 rows columns"]) -> Float[Tensor, " n"]:
    """The Dice coefficient of each image; 1 where there is nothing and nothing was found."""
    found = (output > 0).to(y)
    both, total = (found * y).sum((1, 2, 3)), (found + y).sum((1, 2, 3))
    return torch.where(total > 0, 2 * both / total.clamp(min=1), 1.0)


def overlap_loss(output: Float[Tensor, "n 1 rows columns"], y: Float[Tensor, "n 1 rows columns"]) -> Float[Tensor, ""]:
    """Cross entropy + 1 - the Dice coefficient of probabilities, taken over the whole batch."""
    found = output.sigmoid()
    overlap = (2 * (found * y).sum() + 1) / (found.sum() + y.sum() + 1)
    return F.binary_cross_entropy_with_logits(output, y) + 1 - overlap


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _grid(side: int) -> tuple[Tensor, Tensor]:
    line = torch.arange(side) - (side - 1) / 2
    return line[:, None], line[None, :]


def _axes(count: int, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The pixels' coordinates along and across a shape of any direction, somewhere in the middle."""
    angle = math.pi * torch.rand(count, 1, 1, generator=generator)
    middle = side * 0.4 * (torch.rand(2, count, 1, 1, generator=generator) - 0.5)
    rows, columns = (one - place for one, place in zip(_grid(side), middle, strict=True))
    return columns * angle.cos() + rows * angle.sin(), rows * angle.cos() - columns * angle.sin()


def _ellipse(along: Tensor, across: Tensor, least: float, most: float, generator: torch.Generator) -> Tensor:
    """A mask of ellipses with radii between two bounds."""
    radii = least + (most - least) * torch.rand(2, len(along), 1, 1, generator=generator)
    return (along / radii[0]) ** 2 + (across / radii[1]) ** 2 < 1


def _noisy(clean: Tensor, mask: Tensor, generator: torch.Generator) -> Examples:
    poor = torch.rand(len(clean), generator=generator)
    noise = torch.randn(clean.shape, generator=generator) * (_NOISE[0] + (_NOISE[1] - _NOISE[0]) * poor)[:, None, None]
    task = torch.zeros(len(clean), dtype=torch.long)
    return Examples((clean + noise)[:, None], mask.float()[:, None], task, 1 - poor)

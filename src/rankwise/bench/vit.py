# SPDX-License-Identifier: Apache-2.0
"""A small vision transformer with a head for each set of classes it has learned, and the tasks that are put to it.

The body is the one of transformers, a component that models in use are made of; a head reads the mean of its tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ViTConfig, ViTModel

from rankwise.bench.pretrained import fingerprint, fit, pretrained
from rankwise.bench.task import Task
from rankwise.bench.vision import Examples
from rankwise.recipes.models import device

ENCODER = r"body\.layers\..*"  # every linear layer of the transformer's blocks
_BATCH = 64  # images in a batch of the pre-training
_SEED = 0  # of the base's start and of the order of its images


@dataclass(frozen=True)
class VisionTransformerTask(Task):
    """The settings of a task for a vision transformer that is pre-trained here.

    Attributes:
        batch_size: images of a training batch.
        pretraining: images to pre-train on.
        adapted: images to adapt to.
        validated: images that choose the learning rate.
        tested: images to judge on.
        pretraining_steps: optimizer steps of the pre-training.
        pretraining_rate: its highest learning rate.
        width: features of a token.
        depth: blocks of the transformer.
        heads: attention heads.
        patch: side of a token's square of pixels.
    """

    steps: int = 60
    batch_size: int = 32
    pretraining: int = 10000
    adapted: int = 640
    validated: int = 500
    tested: int = 800
    pretraining_steps: int = 500
    pretraining_rate: float = 2e-3
    width: int = 64
    depth: int = 3
    heads: int = 4
    patch: int = 7

    def classifier(self, cache: Path, examples: Examples, classes: int) -> "Classifier":
        """The transformer after learning some examples' classes, on the device that there is."""
        settings = {
            "data": fingerprint(examples.x, examples.y),
            "steps": self.pretraining_steps,
            "rate": self.pretraining_rate,
            "batch": _BATCH,
            "transformer": [self.width, self.depth, self.heads, self.patch],
        }

        def build() -> Classifier:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(_SEED)
                return Classifier(self._config(examples.x.shape[-1]), classes)

        def train(model: Classifier) -> None:
            own = examples.to(device())
            fit(
                model.to(device()),
                _losses(model, own.batches(self.pretraining_steps, _BATCH, _SEED)),
                self.pretraining_steps,
                self.pretraining_rate,
            )

        return pretrained(cache, self.name, settings, build, train).to(device())

    def _config(self, side: int) -> ViTConfig:
        return ViTConfig(
            image_size=side,
            patch_size=self.patch,
            num_channels=1,
            hidden_size=self.width,
            intermediate_size=2 * self.width,
            num_hidden_layers=self.depth,
            num_attention_heads=self.heads,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )


class Classifier(nn.Module):
    """Outputs for the classes of all heads, side by side in the order in which the heads were added.

    Args:
        config: of the body.
        classes: how many the first head has.
    """

    def __init__(self, config: ViTConfig, classes: int) -> None:
        super().__init__()
        self.body = ViTModel(config, add_pooling_layer=False)
        self.heads = nn.ModuleList([nn.Linear(config.hidden_size, classes)])

    def add_head(self, classes: int, generator: torch.Generator) -> None:
        """Add a head whose outputs are near zero at first."""
        device = next(self.parameters()).device
        head = nn.Linear(self.body.config.hidden_size, classes, device="meta").to_empty(device=device)
        with torch.no_grad():
            head.weight.copy_(0.02 * torch.randn(head.weight.shape, generator=generator))
            head.bias.zero_()
        self.heads.append(head)

    def forward(self, x: Float[Tensor, "n 1 side side"]) -> Float[Tensor, "n classes"]:
        """The outputs of all heads."""
        features = self.body(pixel_values=x).last_hidden_state.mean(1)
        return torch.cat([head(features) for head in self.heads], dim=1)


def _losses(model: nn.Module, batches: Iterator) -> Iterator[Tensor]:
    return (F.cross_entropy(model(batch["x"]), batch["y"]) for batch in batches)

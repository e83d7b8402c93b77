# SPDX-License-Identifier: Apache-2.0
"""The transfer that small comparisons share: a network learns upright digits, adapters learn the same digits turned.

scikit-learn's 1797 digits of 8 x 8 pixels, shuffled by the seed; turned by a quarter they keep their pixels and lose
their places, so that a frozen network starts near chance.
"""

import argparse
import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

import torch
from report import environment, table
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise import Method

BATCH = 64
BASE_STEPS = 600
M = TypeVar("M", bound=Method | None)


class Digits(NamedTuple):
    """The same images upright and turned, as rows of pixels from 0 to 1."""

    upright: Tensor
    turned: Tensor
    labels: Tensor


class Score(NamedTuple):
    """What one run gave.

    Attributes:
        chosen_by: the accuracy by which the learning rate is chosen.
        accuracy: the one reported.
        parameters: how many the adapters train.
    """

    chosen_by: float
    accuracy: float
    parameters: int


class Residual(nn.Module):
    """A network 64-96-(4 x 96-96)-10 with four hidden layers of one kind and size, `blocks`."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(64, 96), nn.Linear(96, 10)
        self.blocks = nn.ModuleList([nn.Linear(96, 96) for _ in range(4)])

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the ten digits."""
        x = torch.relu(self.first(x))
        for block in self.blocks:
            x = x + torch.relu(block(x))
        return self.head(x)


def shuffled(generator: torch.Generator) -> Digits:
    """All digits in random order."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=generator)
    upright = torch.tensor(images / 16.0).float()[order]
    turned = torch.rot90(upright.reshape(-1, 8, 8), 1, (1, 2)).reshape(-1, 64)
    return Digits(upright, turned, torch.tensor(labels)[order])


def upright_base(seed: int, known: int, generator: torch.Generator) -> tuple[Residual, Digits]:
    """The network after 600 steps of Adam on the first `known` digits upright, and the digits."""
    digits = shuffled(generator)
    torch.manual_seed(seed)
    model = Residual()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    fit(model, optimizer, (digits.upright[:known], digits.labels[:known]), BASE_STEPS, generator)
    return model, digits


def fit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: tuple[Tensor, Tensor],
    steps: int,
    generator: torch.Generator,
) -> None:
    """Steps on random batches of 64."""
    for _ in range(steps):
        rows = torch.randint(len(data[1]), (BATCH,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model(data[0][rows]), data[1][rows]).backward()
        optimizer.step()


def hits(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """1 for each image that the model names rightly, else 0."""
    with torch.no_grad():
        return (model(images).argmax(1) == labels).float()


def main(methods: Mapping[str, M], rates: Iterable[float], run: Callable[[M, float, int], Score], seeds: int) -> None:
    """Print the table of a script that has nothing else, for as many seeds as the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=seeds)
    asked = range(parser.parse_args().seeds)
    torch.set_num_threads(1)
    print(compared(methods, rates, asked, run))
    print(environment(threads=1))


def compared(
    methods: Mapping[str, M],
    rates: Iterable[float],
    seeds: Iterable[int],
    run: Callable[[M, float, int], Score],
) -> str:
    """A table with a row a method, at the best of the learning rates, the same for all seeds."""
    rows = []
    for name, method in methods.items():
        runs = {rate: [run(method, rate, seed) for seed in seeds] for rate in rates}
        best = max(runs, key=lambda rate: statistics.mean(score.chosen_by for score in runs[rate]))
        found = [score.accuracy for score in runs[best]]
        spread = f"{min(found):.3f} to {max(found):.3f}"
        rows.append([name, str(runs[best][0].parameters), f"{best:g}", f"{statistics.mean(found):.3f}", spread])
        print(rows[-1], flush=True)
    return table(["method", "trainable parameters", "learning rate", "accuracy", "over seeds"], rows)

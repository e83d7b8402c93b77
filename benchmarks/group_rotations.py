# SPDX-License-Identifier: Apache-2.0
"""Does PEGO's penalty keep what a network knows of angles that adaptation does not show: turned digits.

    python benchmarks/group_rotations.py [--seeds 3]

A network 64-32-32-10 learns 600 of scikit-learn's 8 x 8 digits under random angles between -40 and 40 degrees. Its two
hidden layers are then adapted, by 4 members of rank 4, to 400 of them under +20 and +40 degrees (300 steps of Adam,
5e-3, all images in each step; the output layer stays). Accuracy is on the 797 other digits under angles near to
and far from those. Beside it, on the first layer: the mean |cos| between the rows of W0 and those of the update, and
||update|| / ||W0||.
"""

import argparse
import copy
import math
import statistics

import torch
from report import environment, table
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise import adapt
from rankwise.adapters.pego import PEGO

LEARNED, ADAPTED, TESTED = 600, 400, 797
ANGLES = (0, -35, 30, 60)
WEIGHTS = (0.0, 1e-3, 1e-2)
HEADS = [*(f"{angle} degrees" for angle in ANGLES), "mean abs(cos)", "size"]


def turned(images: Tensor, degrees: Tensor) -> Tensor:
    """Images [n, 64] under one angle each, by bilinear interpolation."""
    angle = degrees * math.pi / 180
    rows = torch.stack([angle.cos(), -angle.sin(), 0 * angle, angle.sin(), angle.cos(), 0 * angle], 1).view(-1, 2, 3)
    grid = F.affine_grid(rows, [len(images), 1, 8, 8], align_corners=False)
    return F.grid_sample(images.view(-1, 1, 8, 8), grid, align_corners=False).flatten(1)


def at(images: Tensor, degrees: float) -> Tensor:
    """All images under the same angle."""
    return turned(images, torch.full((len(images),), float(degrees)))


def digits(seed: int) -> tuple[Tensor, Tensor]:
    """All images and labels in random order."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    return torch.tensor(images / 16.0).float()[order], torch.tensor(labels)[order]


def pretrained(x: Tensor, y: Tensor, seed: int) -> nn.Sequential:
    """The network after learning digits under all angles between -40 and 40 degrees."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(600):
        optimizer.zero_grad()
        F.cross_entropy(model(turned(x, torch.rand(len(x)) * 80 - 40)), y).backward()
        optimizer.step()
    return model


def scores(model: nn.Module, x: Tensor, y: Tensor) -> list[float]:
    """The accuracy under each angle."""
    with torch.no_grad():
        return [float((model(at(x, angle)).argmax(1) == y).float().mean()) for angle in ANGLES]


def adapted(base: nn.Module, weight: float, data: tuple[Tensor, Tensor], seed: int) -> tuple[nn.Module, list[float]]:
    """The network after adaptation with this weight of the penalty, and how its update lies to the first layer."""
    model = copy.deepcopy(base)
    adaptation = adapt(model, PEGO(preserve=weight, diversify=weight), ["0", "2"], seed=seed)
    optimizer = torch.optim.Adam(adaptation.parameters(), lr=5e-3)
    adaptation.attach(optimizer)
    x, y = torch.cat([at(data[0], 20), at(data[0], 40)]), data[1].repeat(2)
    for _ in range(300):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    adapter = adaptation.adapters["0"]
    weights, delta = adapter.target.matrix(), adapter.delta().detach()
    cosines = F.normalize(weights, dim=1) @ F.normalize(delta, dim=1).mT
    return model, [float(cosines.abs().mean()), float(delta.norm() / weights.norm())]


def measure(seed: int) -> dict[str, list[float]]:
    """The scores before adaptation and after it with each weight of the penalty."""
    x, y = digits(seed)
    learned, shown, rest = slice(LEARNED), slice(LEARNED, LEARNED + ADAPTED), slice(-TESTED, None)
    base = pretrained(x[learned], y[learned], seed)
    found = {"not adapted": [*scores(base, x[rest], y[rest]), 0.0, 0.0]}
    for weight in WEIGHTS:
        model, geometry = adapted(base, weight, (x[shown], y[shown]), seed)
        found[f"{weight:g}"] = [*scores(model, x[rest], y[rest]), *geometry]
    return found


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    torch.set_num_threads(1)
    runs = [measure(seed) for seed in range(parser.parse_args().seeds)]
    rows = []
    for name in runs[0]:
        columns = zip(*(run[name] for run in runs), strict=True)
        rows.append([name, *(f"{statistics.mean(column):.3f}" for column in columns)])
    print(table(["weight of both terms", *HEADS], rows))
    print(environment(threads=1))


if __name__ == "__main__":
    main()

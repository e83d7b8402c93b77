# SPDX-License-Identifier: Apache-2.0
"""What PETALface's gate prevents on scikit-learn's 8x8 digits: forgetting sharp images while learning blurred ones.

    python benchmarks/petalface_digits.py [--seeds 8] [--ranks 2 4 6]

A small network reads sharp digits. Its first layer is adapted on sharp images and on mirrored ones with a quarter of
the pixels, by PETALface of rank r, gated by the sharpness of each image, and by a LoRA of rank 2 r, which has as many
parameters. Sharpness is the variance of the image's Laplacian, scaled so that its 5 % and 95 % quantiles over the
training images are 0 and 1. The table gives the accuracy on sharp and on low images that no training has seen.
"""

import argparse
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise import LoRA, Method, adapt
from rankwise.adapters.petalface import PETALface, quality_gate

PRETRAINING, ADAPTING, STEPS = 600, 400, 500
LAPLACIAN = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])


@dataclass(frozen=True)
class Images:
    """Images [n, 64], their digits [n] and their quality [n]."""

    pixels: Tensor
    digits: Tensor
    quality: Tensor


@dataclass(frozen=True)
class Accuracy:
    """Share of unseen images whose digit is found; over several seeds, the mean or its standard error."""

    sharp: float
    low: float


@dataclass(frozen=True)
class Task:
    """One split of the digits and the network that was trained on its sharp images."""

    network: dict[str, Tensor]
    train: Images
    sharp: Images
    low: Images


def network() -> nn.Sequential:
    """The classifier."""
    return nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))


def task(seed: int) -> Task:
    """Split the digits and train the network on the first part of them."""
    torch.manual_seed(seed)
    loaded = load_digits()
    order = torch.randperm(len(loaded.target))
    pixels = torch.tensor(loaded.data, dtype=torch.float32)[order] / 16
    digits = torch.tensor(loaded.target)[order]
    cut = PRETRAINING + ADAPTING
    first, second, rest = slice(0, PRETRAINING), slice(PRETRAINING, cut), slice(cut, None)
    seen = torch.cat([pixels[second], lowered(pixels[second])])
    low, high = sharpness(seen).quantile(torch.tensor([0.05, 0.95])).tolist()

    def images(pixels: Tensor, digits: Tensor) -> Images:
        return Images(pixels, digits, quality_gate(sharpness(pixels), (low + high) / 2, 1 / (high - low)))

    model = network()
    fit(model, list(model.parameters()), images(pixels[first], digits[first]), nullcontext())
    return Task(
        model.state_dict(),
        images(seen, digits[second].repeat(2)),
        images(pixels[rest], digits[rest]),
        images(lowered(pixels[rest]), digits[rest]),
    )


def adapted(task: Task, method: Method | None) -> Accuracy:
    """The accuracies after adapting the first layer; those of the network as it is without a method."""
    model = network()
    model.load_state_dict(task.network)
    if method is None:
        return Accuracy(accuracy(model, task.sharp), accuracy(model, task.low))
    adaptation = adapt(model, method, ["0"])

    def gate(images: Images) -> AbstractContextManager:
        return adaptation.context(quality=images.quality) if method.inputs else nullcontext()

    fit(model, list(adaptation.parameters()), task.train, gate(task.train))
    found = []
    for images in (task.sharp, task.low):
        with gate(images):
            found.append(accuracy(model, images))
    return Accuracy(*found)


def fit(model: nn.Module, parameters: list[nn.Parameter], images: Images, gate: AbstractContextManager) -> None:
    """Train on all images at every step."""
    optimizer = torch.optim.Adam(parameters, lr=5e-3)
    model.train()
    with gate:
        for _ in range(STEPS):
            optimizer.zero_grad()
            F.cross_entropy(model(images.pixels), images.digits).backward()
            optimizer.step()
    model.eval()


def accuracy(model: nn.Module, images: Images) -> float:
    """Share of images whose digit is found."""
    with torch.no_grad():
        return (model(images.pixels).argmax(dim=1) == images.digits).double().mean().item()


def lowered(pixels: Tensor) -> Tensor:
    """Mirrored images, averaged to 4x4 and interpolated to 8x8."""
    small = F.avg_pool2d(pixels.reshape(-1, 1, 8, 8).flip(-1), 2)
    return F.interpolate(small, scale_factor=2, mode="bilinear").flatten(1)


def sharpness(pixels: Tensor) -> Tensor:
    """The variance of each image's Laplacian."""
    return F.conv2d(pixels.reshape(-1, 1, 8, 8), LAPLACIAN[None, None]).flatten(1).var(dim=1)


def measure(rank: int, seeds: int) -> dict[str, tuple[Accuracy, Accuracy]]:
    """Accuracies, as mean and standard error, of the base, of PETALface of `rank` and of a LoRA of rank 2 * `rank`."""
    methods = {
        "base": None,
        f"PETALface, rank {rank}": PETALface(rank=rank, dropout=0.0),
        f"LoRA, rank {2 * rank}": LoRA(rank=2 * rank, alpha=2.0 * rank, init="gaussian"),
    }
    tasks = [task(seed) for seed in range(seeds)]
    return {name: summary([adapted(one, method) for one in tasks]) for name, method in methods.items()}


def summary(runs: list[Accuracy]) -> tuple[Accuracy, Accuracy]:
    """Mean and standard error over seeds."""
    found = torch.tensor([(run.sharp, run.low) for run in runs])
    return Accuracy(*found.mean(0).tolist()), Accuracy(*(found.std(0) / len(runs) ** 0.5).tolist())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4, 6])
    arguments = parser.parse_args()
    for rank in arguments.ranks:
        for name, (mean, error) in measure(rank, arguments.seeds).items():
            print(f"{name:18} sharp {mean.sharp:.3f} +- {error.sharp:.3f}   low {mean.low:.3f} +- {error.low:.3f}")


if __name__ == "__main__":
    main()

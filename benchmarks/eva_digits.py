# SPDX-License-Identifier: Apache-2.0
"""How a low-rank adapter starts decides how fast it learns: digits turned by a quarter, from 300 labels.

    python benchmarks/eva_digits.py [--seeds 3]

A network 64-128-128-128-10 learns scikit-learn's 8 x 8 digits upright (600 steps of Adam). Then adapters on all four
layers, scaled by 4 / r, learn the turned digits from 300 labels with the base frozen (300 steps of Adam, learning rate
1e-2, batch 64); accuracy is on the other 1497 turned ones. All starts have left = 0; they differ in `right` alone.
"""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from report import environment, table
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise import Adaptation, LoRA, adapt
from rankwise.adapters.eva import EVA

LABELS, BATCH, BASE_STEPS, STEPS, RATE, SCALE = 300, 64, 600, 300, 1e-2, 4.0
LAYERS = ["0", "2", "4", "6"]
LOOKS = (50, 100, 300)
STARTS = ("EVA", "EVA uncentered", "random orthonormal rows", "LoRA default", "minor components")


@dataclass(frozen=True)
class Outcome:
    """Means over seeds: norm of the gradient by all left factors at the start, loss by step, accuracy."""

    gradient: float
    losses: dict[int, float]
    accuracy: float


def main() -> None:
    """Train everything and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    torch.set_num_threads(1)
    rows = []
    for rank, start in [(2, start) for start in STARTS] + [(4, "EVA"), (4, "LoRA default")]:
        found = outcome(start, rank, seeds)
        losses = [f"{found.losses[step]:.3f}" for step in LOOKS]
        rows.append([str(rank), start, f"{found.gradient:.1f}", *losses, f"{found.accuracy:.3f}"])
        print(rows[-1], flush=True)
    heads = ["rank", "start", "gradient of left", *(f"loss at {step}" for step in LOOKS), "accuracy"]
    print(table(heads, rows))
    print(environment(threads=1))


def outcome(start: str, rank: int, seeds: Iterable[int]) -> Outcome:
    """What a start leads to, averaged over seeds."""
    runs = [_run(start, rank, seed) for seed in seeds]
    losses = {step: sum(one.losses[step] for one in runs) / len(runs) for step in LOOKS}
    return Outcome(sum(one.gradient for one in runs) / len(runs), losses, sum(one.accuracy for one in runs) / len(runs))


def _run(start: str, rank: int, seed: int) -> Outcome:
    generator = torch.Generator().manual_seed(seed)
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=generator)
    x, y = torch.tensor(images / 16.0).float()[order], torch.tensor(labels)[order]
    turned = torch.rot90(x.reshape(-1, 8, 8), 1, (1, 2)).reshape(-1, 64)
    torch.manual_seed(seed)
    layers = [nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(128, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(BASE_STEPS):
        _step(model, optimizer, (x, y), generator)
    train, test = (turned[:LABELS], y[:LABELS]), (turned[LABELS:], y[LABELS:])
    adaptation = _adapted(model, start, rank, train[0], seed)
    F.cross_entropy(model(train[0]), train[1]).backward()
    gradient = torch.cat([one.left.grad.flatten() for one in adaptation.adapters.values()]).norm()
    optimizer, losses = torch.optim.Adam(list(adaptation.parameters()), lr=RATE), {}
    for step in range(1, STEPS + 1):
        _step(model, optimizer, train, generator)
        if step in LOOKS:
            losses[step] = float(F.cross_entropy(model(train[0]), train[1]).detach())
    right = model(test[0]).argmax(1) == test[1]
    return Outcome(float(gradient), losses, float(right.float().mean()))


def _adapted(model: nn.Module, start: str, rank: int, x: Tensor, seed: int) -> Adaptation:
    alpha, batches = SCALE, list(x.split(100))
    if start == "LoRA default":
        return adapt(model, LoRA(rank=rank, alpha=alpha), LAYERS, seed=seed)
    if start in ("EVA", "EVA uncentered"):
        method = EVA(rank=rank, rho=1.0, alpha=alpha, center=start == "EVA")
        return adapt(model, method, LAYERS, seed=seed, calibration=batches)
    whole = {name: model.get_submodule(name) for name in LAYERS}
    adaptation = adapt(model, LoRA(rank=rank, alpha=alpha), LAYERS, seed=seed)
    rows, inputs = torch.Generator().manual_seed(seed), x
    for name in LAYERS:
        adapter, width = adaptation.adapters[name], whole[name].in_features
        if start == "minor components":
            chosen = torch.linalg.svd(inputs - inputs.mean(0))[2][-rank:]
        else:
            chosen = torch.linalg.qr(torch.randn(width, rank, generator=rows))[0].t()
        with torch.no_grad():
            adapter.right.copy_(chosen)
            inputs = torch.relu(whole[name](inputs))
    return adaptation


def _step(
    model: nn.Module, optimizer: torch.optim.Optimizer, data: tuple[Tensor, Tensor], generator: torch.Generator
) -> None:
    rows = torch.randint(len(data[1]), (BATCH,), generator=generator)
    optimizer.zero_grad()
    F.cross_entropy(model(data[0][rows]), data[1][rows]).backward()
    optimizer.step()


if __name__ == "__main__":
    main()

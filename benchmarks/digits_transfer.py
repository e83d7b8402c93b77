# SPDX-License-Identifier: Apache-2.0
"""What a few singular values or pivots can learn: upright digits to digits turned by a quarter, from 300 labels.

    python benchmarks/digits_transfer.py [--seeds 3]

A network 64-128-128-128-10 learns scikit-learn's 8 x 8 digits upright (600 steps of Adam, batch 64). Then its three
hidden layers are adapted and its head is trained on 300 turned digits (400 steps); accuracy is on the other 1497 turned
ones. Each method takes the best of three learning rates by that accuracy, the same for all seeds.
"""

import argparse
import statistics

import torch
from report import environment, table
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise import LoRA, Method, adapt
from rankwise.adapters.loldu import LoLDU
from rankwise.adapters.svfit import SVFit

LABELS, BATCH, BASE_STEPS, STEPS = 300, 64, 600, 400
RATES = (1e-3, 5e-3, 2e-2)
METHODS: dict[str, Method | None] = {
    "head alone": None,
    "SVFit(rank=16)": SVFit(rank=16),
    "SVFit()": SVFit(),
    "SVFit(relative=True)": SVFit(relative=True),
    "LoLDU(rank=16)": LoLDU(rank=16),
    "LoLDU()": LoLDU(),
    'LoLDU(init="lu")': LoLDU(init="lu"),
    'LoLDU(init="constant")': LoLDU(init="constant"),
    "LoLDU(train_sigma=False)": LoLDU(train_sigma=False),
    "LoRA(rank=1)": LoRA(rank=1, alpha=1),
    "LoRA(rank=4)": LoRA(rank=4, alpha=4),
}


def main() -> None:
    """Train everything and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    torch.set_num_threads(1)
    rows = []
    for name, method in METHODS.items():
        runs = {rate: [transferred(method, rate, seed) for seed in seeds] for rate in RATES}
        best = max(RATES, key=lambda rate: statistics.mean(score for score, _ in runs[rate]))
        scores = [score for score, _ in runs[best]]
        rows.append([name, str(runs[best][0][1]), f"{best:g}", f"{statistics.mean(scores):.3f}"])
        print(rows[-1], flush=True)
    print(table(["method", "parameters beside the head", "learning rate", "accuracy"], rows))
    print(environment(threads=1))


def transferred(method: Method | None, rate: float, seed: int) -> tuple[float, int]:
    """Accuracy on turned digits, and how many parameters the adapters train."""
    generator = torch.Generator().manual_seed(seed)
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=generator)
    x, y = torch.tensor(images / 16.0).float()[order], torch.tensor(labels)[order]
    turned = torch.rot90(x.reshape(-1, 8, 8), 1, (1, 2)).reshape(-1, 64)
    torch.manual_seed(seed)
    layers = [nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(128, 10))
    fit(model, list(model.parameters()), (x, y), 1e-3, BASE_STEPS, generator)
    head = list(model[-1].parameters())
    added = [] if method is None else list(adapt(model, method, ["0", "2", "4"]).parameters())
    model.requires_grad_(False)
    for parameter in (*head, *added):
        parameter.requires_grad_()
    fit(model, [*head, *added], (turned[:LABELS], y[:LABELS]), rate, STEPS, generator)
    with torch.no_grad():
        right = model(turned[LABELS:]).argmax(1) == y[LABELS:]
    return float(right.float().mean()), sum(parameter.numel() for parameter in added)


def fit(
    model: nn.Module,
    parameters: list[Tensor],
    data: tuple[Tensor, Tensor],
    rate: float,
    steps: int,
    generator: torch.Generator,
) -> None:
    """Adam on random batches."""
    optimizer = torch.optim.Adam(parameters, lr=rate)
    for _ in range(steps):
        rows = torch.randint(len(data[1]), (BATCH,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model(data[0][rows]), data[1][rows]).backward()
        optimizer.step()


if __name__ == "__main__":
    main()

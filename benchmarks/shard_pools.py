# SPDX-License-Identifier: Apache-2.0
"""What shared pools of shards are worth at equal size: upright digits to digits turned by a quarter.

    python benchmarks/shard_pools.py [--seeds 6]

A residual network 64-96-(4 x 96-96)-10 learns 1300 of scikit-learn's 8 x 8 digits upright (600 steps of Adam, batch
64). Then its four hidden layers are adapted to the same digits turned (300 steps of AdamW); accuracy is on the other
497. alpha is 8 r throughout, so that every delta has the scale 8. Each method takes the best of three learning rates by
that accuracy, the same for all seeds.
"""

import argparse
import statistics

import torch
from report import environment, table
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise import LoRA, Method, adapt
from rankwise.adapters.mos import MoS

LABELS, BATCH, BASE_STEPS, STEPS = 1300, 64, 600, 300
RATES = (5e-3, 1e-2, 2e-2)
METHODS: dict[str, Method] = {
    "LoRA(rank=2)": LoRA(rank=2, alpha=16),
    "MoS(rank=4)": MoS(rank=4, alpha=32),
    "MoS(rank=4, pair_dissociation=False)": MoS(rank=4, pair_dissociation=False, alpha=32),
    "MoS(rank=4, private_rank=0)": MoS(rank=4, private_rank=0, alpha=32),
    "MoS(rank=4, shards=1)": MoS(rank=4, shards=1, alpha=32),
    "pure sharing": MoS(rank=None, private_rank=0, shards=1, pair_dissociation=False, alpha=64),
    "LoRA(rank=4)": LoRA(rank=4, alpha=32),
}


class Residual(nn.Module):
    """Four hidden layers of one kind and size."""

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


def main() -> None:
    """Train everything and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=6)
    seeds = range(parser.parse_args().seeds)
    torch.set_num_threads(1)
    rows = []
    for name, method in METHODS.items():
        runs = {rate: [transferred(method, rate, seed) for seed in seeds] for rate in RATES}
        best = max(RATES, key=lambda rate: statistics.mean(score for score, _ in runs[rate]))
        scores = [score for score, _ in runs[best]]
        spread = f"{min(scores):.3f} to {max(scores):.3f}"
        rows.append([name, str(runs[best][0][1]), f"{best:g}", f"{statistics.mean(scores):.3f}", spread])
        print(rows[-1], flush=True)
    print(table(["method", "trainable parameters", "learning rate", "accuracy", "over seeds"], rows))
    print(environment(threads=1))


def transferred(method: Method, rate: float, seed: int) -> tuple[float, int]:
    """Accuracy on turned digits, and how many parameters the adapters train."""
    generator = torch.Generator().manual_seed(seed)
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=generator)
    x, y = torch.tensor(images / 16.0).float()[order], torch.tensor(labels)[order]
    turned = torch.rot90(x.reshape(-1, 8, 8), 1, (1, 2)).reshape(-1, 64)
    torch.manual_seed(seed)
    model = Residual()
    fit(model, torch.optim.Adam(model.parameters(), lr=1e-3), (x[:LABELS], y[:LABELS]), BASE_STEPS, generator)
    adaptation = adapt(model, method, r"blocks\..*", seed=seed)
    optimizer = torch.optim.AdamW(adaptation.parameters(), lr=rate)
    adaptation.attach(optimizer)
    fit(model, optimizer, (turned[:LABELS], y[:LABELS]), STEPS, generator)
    with torch.no_grad():
        right = model(turned[LABELS:]).argmax(1) == y[LABELS:]
    return float(right.float().mean()), adaptation.summary().trainable


def fit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: tuple[Tensor, Tensor],
    steps: int,
    generator: torch.Generator,
) -> None:
    """Steps on random batches."""
    for _ in range(steps):
        rows = torch.randint(len(data[1]), (BATCH,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model(data[0][rows]), data[1][rows]).backward()
        optimizer.step()


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Whether gates find the modules that a task changes, and what training only those is worth.

    python benchmarks/gated_modules.py [--seeds 3]

A frozen residual network of 3 blocks with 4 linear layers of 16 x 16 each; the teacher is the same network with a
random shift of rank 2 in 3 of the 12 layers. DiffoRA searches for 600 steps (50 of them warm-up; 256 samples for the
factors and 256 for the gates, full batches, factors 1e-2, gates 3e-2) and keeps 3 layers of the model; what it kept
then trains for 400 steps on all 512 samples, as do three random choices of 3 layers by plain LoRA. Errors are mean
squares on 1024 held-out samples, as a share of the error of the frozen network.
"""

import argparse
import random
import statistics
import time
from dataclasses import dataclass

import torch
from report import environment, table
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise import Adaptation, LoRA, adapt
from rankwise.adapters.diffora import DiffoRA
from rankwise.adapters.search import gate_step, selected

SIDE, BLOCKS, CHANGED, RANK = 16, 3, 3, 2
SEARCH, TUNE = 600, 400


class Block(nn.Module):
    """Two residual steps of two layers each."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three, self.four = (nn.Linear(SIDE, SIDE) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        x = x + self.two(torch.tanh(self.one(x)))
        return x + self.four(torch.tanh(self.three(x)))


@dataclass(frozen=True)
class Task:
    """A frozen network's seed, what its teacher changed, and samples of the teacher."""

    seed: int
    changed: list[str]
    train: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    torch.set_num_threads(1)
    rows = []
    for seed in range(parser.parse_args().seeds):
        task, start = make_task(seed), time.perf_counter()
        found, gates, errors = searched(task)
        spent, chance = time.perf_counter() - start, [by_chance(task, draw) for draw in range(3)]
        hits = len(set(found) & set(task.changed))
        right = [f"{gates[name]:.2f}" for name in task.changed]
        wrong = [value for name, value in gates.items() if name not in task.changed]
        row = [str(seed), f"{hits} of {CHANGED}", " ".join(right), f"{statistics.median(wrong):.2f}, {max(wrong):.2f}"]
        mean = statistics.mean(chance)
        rows.append([*row, f"{errors:.1e}", f"{mean:.2f}", f"{mean / errors:.0f}"])
        print(f"seed {seed}: {spent:.0f} s")
    head = ["seed", "found", "gates of changed layers", "of others: median, max", "error", "error by chance", "ratio"]
    print(table(head, rows))
    print(environment(threads=1))


def network(seed: int) -> nn.Sequential:
    """The frozen network."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(*(Block() for _ in range(BLOCKS)))
    with torch.no_grad():
        for parameter in model.parameters():
            size = SIDE**-0.5 if parameter.ndim == 2 else 0.0
            parameter.copy_(size * torch.randn(parameter.shape, generator=generator))
    return model


def make_task(seed: int) -> Task:
    """Shift some layers and draw samples."""
    generator = torch.Generator().manual_seed(1000 + seed)
    teacher = network(seed)
    layers = [name for name, module in teacher.named_modules() if isinstance(module, nn.Linear)]
    changed = sorted(random.Random(seed).sample(layers, CHANGED))
    with torch.no_grad():
        for name in changed:
            left, right = (torch.randn(SIDE, RANK, generator=generator) for _ in range(2))
            teacher.get_parameter(f"{name}.weight").add_(0.8 * left @ right.T / (RANK * SIDE) ** 0.5)
        x = torch.randn(512 + 1024, SIDE, generator=generator)
        y = teacher(x)
    return Task(seed, changed, (x[:512], y[:512]), (x[512:], y[512:]))


def searched(task: Task) -> tuple[list[str], dict[str, float], float]:
    """Search and tune: the layers kept, the gates, and the held-out error."""
    method = DiffoRA(
        rank=4, alpha=8, rho=CHANGED / (4 * BLOCKS), scope="global", share="none", search_warmup=50, search_steps=SEARCH
    )
    adaptation = adapt(network(task.seed), method, seed=task.seed)
    gates = [p for name, p in adaptation.named_parameters() if name == "shared.theta"]
    factors = [p for name, p in adaptation.named_parameters() if name != "shared.theta"]
    optimizer = torch.optim.AdamW(
        [{"params": factors}, {"params": gates, "lr": 3e-2, "weight_decay": 0.0}], lr=1e-2, weight_decay=0.01
    )
    adaptation.attach(optimizer)
    x, y = task.train
    for step in range(SEARCH + TUNE):
        half = slice(None) if step >= SEARCH else slice(256, 512) if gate_step(adaptation) else slice(0, 256)
        advance(adaptation, optimizer, x[half], y[half])
    values = dict(zip(adaptation.targets, torch.sigmoid(gates[0]).tolist(), strict=True))
    return selected(adaptation), values, error(adaptation, task)


def by_chance(task: Task, draw: int) -> float:
    """The held-out error of LoRA on as many layers, drawn at random."""
    model = network(task.seed)
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    chosen = random.Random(100 * task.seed + draw).sample(layers, CHANGED)
    adaptation = adapt(model, LoRA(rank=4, alpha=8), chosen, seed=task.seed)
    optimizer = torch.optim.AdamW(adaptation.parameters(), lr=1e-2, weight_decay=0.01)
    for _ in range(TUNE):
        advance(adaptation, optimizer, *task.train)
    return error(adaptation, task)


def advance(adaptation: Adaptation, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    """One step."""
    F.mse_loss(adaptation.model(x), y).backward()
    optimizer.step()
    optimizer.zero_grad()


@torch.no_grad()
def error(adaptation: Adaptation, task: Task) -> float:
    """The held-out error as a share of the frozen network's."""
    x, y = task.held_out
    with adaptation.disabled():
        frozen = F.mse_loss(adaptation.model(x), y)
    return float(F.mse_loss(adaptation.model(x), y) / frozen)


if __name__ == "__main__":
    main()

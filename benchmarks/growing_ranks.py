# SPDX-License-Identifier: Apache-2.0
"""Do methods whose ranks grow find out where rank is needed: eight maps whose targets differ by known ranks.

    python benchmarks/growing_ranks.py [--seeds 10] [--steps 600]

Eight frozen 24 x 24 maps, a stack, are trained towards targets that differ from them by products of orthonormal factors
of rank 0, 0, 0, 1, 2, 3, 6 and 8. All methods may spend 24 ranks; those that grow start at rank 1 and gain 1 at each
event, every 20 steps. AdamW from 5e-3 linearly to 0, batch 64, alpha 16. What is left is ||W - target||_F^2 / 24 summed
over the maps: 0.333 is the least that rank 3 everywhere can leave, 0 the least that 24 well-placed ranks can. "by
chance" is TriAdaptLoRA with random numbers in place of its score: what growth is worth that knows nothing.
"""

import argparse
from dataclasses import dataclass, replace
from statistics import mean, stdev

import torch
from jaxtyping import Float
from report import environment
from torch import Tensor, nn

from rankwise import IncreLoRA, LoRA, Method, adapt
from rankwise.adapters.triadaptlora import TriAdaptLoRA
from rankwise.core.training import Training

TRUE_RANKS = (0, 0, 0, 1, 2, 3, 6, 8)
SIZE, RATE = 24, 5e-3


class Maps(nn.Module):
    """Several maps of the same input."""

    def __init__(self, weight: Float[Tensor, "maps out in"]) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Float[Tensor, "tokens in"]) -> Float[Tensor, "maps tokens out"]:
        """The output of each map."""
        return x @ self.weight.mT


@dataclass(frozen=True)
class ByChance(TriAdaptLoRA):
    """TriAdaptLoRA with random numbers in place of its score."""

    def ranking(self, training: Training) -> Float[Tensor, " n"]:
        """Numbers that depend on the step and the adaptation's seed alone."""
        generator = torch.Generator().manual_seed(1000 * training.installed.seed + training.step)
        return torch.rand(len(TRUE_RANKS), generator=generator)


def fitted(method: Method, seed: int, steps: int) -> tuple[float, list[int]]:
    """Train the maps towards their targets: what is left, and the ranks at the end."""
    generator = torch.Generator().manual_seed(seed)
    maps = Maps(torch.randn(len(TRUE_RANKS), SIZE, SIZE, generator=generator) / SIZE**0.5)
    targets = maps.weight.detach().clone()
    for i, rank in enumerate(TRUE_RANKS):
        left, right = torch.linalg.qr(torch.randn(2, SIZE, SIZE, generator=generator)).Q[..., :rank]
        targets[i] += left @ right.T
    adaptation = adapt(maps, method, ["weight"], seed=seed)
    optimizer = torch.optim.AdamW(adaptation.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    adaptation.attach(optimizer)
    for _ in range(steps):
        x = torch.randn(64, SIZE, generator=generator)
        (maps(x) - x @ targets.mT).square().mean((1, 2)).sum().backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    left = (maps.weight - targets).detach().square().sum() / SIZE
    (adapter,) = adaptation.adapters.values()
    return float(left), dict(adapter.named_buffers())["rank"].tolist() if method.scheduled else [3] * len(TRUE_RANKS)


def growing(steps: int) -> dict[str, Method]:
    """The methods by what tells them apart."""
    every = max(1, steps // 30)
    tri = TriAdaptLoRA(target_rank=3, init_warmup=every, incre_interval=every, total_steps=steps)
    zero = replace(tri, init="c_zero")
    return {
        "LoRA(rank=3)": LoRA(rank=3, alpha=16),
        "IncreLoRA": IncreLoRA(top_h=2, target_rank=3, init_warmup=every, incre_interval=every, total_steps=steps),
        "TriAdaptLoRA": tri,
        "TriAdaptLoRA, exponential": replace(tri, rank_growth_model="exponential"),
        "TriAdaptLoRA, c_zero": zero,
        "TriAdaptLoRA, c_zero, fixed_scale": replace(zero, fixed_scale=True),
        "TriAdaptLoRA, no restarted warm-up": replace(tri, restart_warmup=False),
        "TriAdaptLoRA, no restart, no regularizer": replace(tri, restart_warmup=False, orthogonality=0.0),
        "by chance": ByChance(target_rank=3, init_warmup=every, incre_interval=every, total_steps=steps),
    }


def main() -> None:
    """Train everything and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=600)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name, method in growing(given.steps).items():
        found = [fitted(method, seed, given.steps) for seed in range(given.seeds)]
        left = [value for value, _ in found]
        ranks = [mean(column) for column in zip(*(each for _, each in found), strict=True)]
        print(
            f"{name:42} {mean(left):.3f} +- {stdev(left):.3f}  ", " ".join(f"{rank:.1f}" for rank in ranks), flush=True
        )
    print(environment(threads=1))


if __name__ == "__main__":
    main()

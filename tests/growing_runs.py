# SPDX-License-Identifier: Apache-2.0
"""A training run that can stop anywhere, for methods whose ranks grow."""

import torch
from torch import nn
from torch.nn import functional as F

from rankwise import adapt
from rankwise.adapters.triadaptlora import TriAdaptLoRA

PEAK = 0.01
LENGTH = 30  # steps of the runs with `small`


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 9), nn.Tanh(), nn.Linear(9, 6), nn.Tanh(), nn.Linear(6, 5)).double()


def batch(step):
    generator = torch.Generator().manual_seed(1000 + step)
    x = torch.randn(16, 7, generator=generator, dtype=torch.float64)
    return x, torch.stack([x[:, 0] * x[:, 1], x.sum(1), x[:, 2], -x[:, 3], x[:, 4].abs()], dim=1)


def share(age, length, warmup):
    """A linear schedule's share of the peak."""
    return age / max(1, warmup) if age < warmup else max(0.0, (length - age) / max(1, length - warmup))


class Run:
    """A small network in training, with the step it has come to."""

    def __init__(self, method, length, optimizer_class=torch.optim.AdamW):
        self.model, self.step = network(), 0
        self.adaptation = adapt(self.model, method)
        self.optimize(method, length, optimizer_class)

    def optimize(self, method, length, optimizer_class=torch.optim.AdamW):
        self.optimizer = optimizer_class(self.adaptation.parameters(), lr=PEAK, weight_decay=0.05)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda t: share(t, length, method.init_warmup)
        )
        self.adaptation.attach(self.optimizer)

    def train(self, steps):
        """Take steps; give the ranks after each."""
        history = []
        for _ in range(steps):
            x, y = batch(self.step)
            F.mse_loss(self.model(x), y).backward()
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad()
            self.step += 1
            history.append([int(one.rank) for one in self.adaptation.adapters.values()])
        return history

    def deltas(self):
        return [one.delta().detach() for one in self.adaptation.adapters.values()]


def small(**fields):
    """TriAdaptLoRA on small layers for `LENGTH` steps."""
    given = {"target_rank": 3, "init_warmup": 5, "incre_interval": 4, "total_steps": LENGTH, "alpha": 4.0}
    return TriAdaptLoRA(**given | fields)

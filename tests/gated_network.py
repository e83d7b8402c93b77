# SPDX-License-Identifier: Apache-2.0
"""A network of two layers with three weights each, and a search by gates on it."""

import torch
from torch import nn
from torch.nn import functional as F

from random_layers import draw, filled

PLACES = ("query", "key", "value")
FAST, SLOW = 5e-2, 1e-2  # learning rates of gates and factors


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(4, 6)

    def forward(self, x):
        return x + 0.3 * self.value(torch.tanh(self.query(x)) + torch.sin(self.key(x)))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


def network():
    return filled(Net())


def batch(step):
    return draw(5, 6, seed=100 + step), draw(5, 2, seed=200 + step)


def optimizer_of(adaptation, decay=0.1, others=()):
    gates = [p for name, p in adaptation.named_parameters() if name == "shared.theta"]
    factors = [p for name, p in adaptation.named_parameters() if name != "shared.theta"]
    optimizer = torch.optim.AdamW(
        [{"params": [*factors, *others]}, {"params": gates, "lr": FAST, "weight_decay": 0.0}],
        lr=SLOW,
        weight_decay=decay,
    )
    adaptation.attach(optimizer)
    return optimizer


def train(adaptation, optimizer, steps):
    for step in steps:
        x, y = batch(step)
        F.mse_loss(adaptation.model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()

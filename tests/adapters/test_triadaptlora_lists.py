# SPDX-License-Identifier: Apache-2.0
"""TriAdaptLoRA's masked tensors against lists of parameters that join the optimizer when they are needed."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from growing_runs import LENGTH, PEAK, Run, batch, network, share, small


class Lists:
    """One layer whose components are parameters of their own; `start` holds what they begin with."""

    def __init__(self, layer, start, method):
        self.layer, self.start, self.method, self.rank, self.entries = layer, start, method, 0, []
        self.add(method.rank)
        self.before = float(self.strength())

    def add(self, count):
        """One list entry for all, or one each; gives the new parameters."""
        new = []
        for size in [count] if self.method.blocks else [1] * count:
            first, self.rank = self.rank, self.rank + size
            these, upto = slice(first, self.rank), slice(self.rank)
            parts = (
                self.start["left"][:, these],
                self.start["lower"][these, upto],
                self.start["upper"][upto, these],
                self.start["right"][these],
            )
            self.entries.append([nn.Parameter(part.clone()) for part in parts])
            new += self.entries[-1]
        return new

    def core(self):
        rows = [F.pad(row, (0, self.rank - row.shape[1])) for _, row, _, _ in self.entries]
        columns = [F.pad(column, (0, 0, 0, self.rank - column.shape[0])) for _, _, column, _ in self.entries]
        return torch.cat(rows, 0) + torch.cat(columns, 1)

    def outer(self):
        return torch.cat([entry[0] for entry in self.entries], 1), torch.cat([entry[3] for entry in self.entries], 0)

    def delta(self):
        left, right = self.outer()
        divisor = self.method.target_rank if self.method.fixed_scale else self.rank
        return left @ self.core() @ right * self.method.alpha / (divisor + 1e-5)

    def strength(self):
        return self.core().detach().square().sum().sqrt() / len(self.entries)

    def score(self):
        before, self.before = self.before, float(self.strength())
        return self.before - before

    def distance(self):
        left, right = self.outer()
        eye = torch.eye(self.rank, dtype=torch.float64)
        return torch.linalg.matrix_norm(left.T @ left - eye) + torch.linalg.matrix_norm(right @ right.T - eye)

    def __call__(self, x):
        return F.linear(x, self.layer.weight + self.delta(), self.layer.bias)


def event(layers, step, method):
    """The new parameters of all layers that grow."""
    budget = method.target_rank * len(layers) - sum(one.rank for one in layers)
    progress = (step - method.init_warmup) / (method.total_steps - method.init_warmup)
    count = budget * progress if method.rank_growth_model == "linear" else math.exp(progress * math.log(budget))
    scores = [one.score() for one in layers]
    new = []
    for index in sorted(range(len(layers)), key=lambda i: -scores[i])[: max(1, int(count))]:
        gain = min(method.increment, budget)
        new += layers[index].add(gain)
        budget -= gain
        if budget == 0:
            break
    return new


def reference(method, starts, optimizer_class):
    """The method with lists and an optimizer group for each event; the deltas at the end and the ranks over time."""
    model = network().requires_grad_(False)
    layers = [Lists(layer, start, method) for layer, start in zip([model[0], model[2], model[4]], starts, strict=True)]
    first = [p for one in layers for entry in one.entries for p in entry]
    optimizer = optimizer_class(first, lr=PEAK, weight_decay=0.05)
    begun, history = [0], []
    for step in range(LENGTH):
        for group, start in zip(optimizer.param_groups, begun, strict=True):
            group["lr"] = PEAK * share(step - start, LENGTH - start, method.init_warmup)
        x, y = batch(step)
        output = layers[2](torch.tanh(layers[1](torch.tanh(layers[0](x)))))
        penalty = method.orthogonality * sum(one.distance() for one in layers) / (2 * len(layers))
        (F.mse_loss(output, y) + penalty).backward()
        left = sum(one.rank for one in layers) < method.target_rank * len(layers)
        if left and step > method.init_warmup and step % method.incre_interval == 0:
            optimizer.add_param_group({"params": event(layers, step, method)})
            begun.append(step + 1 if method.restart_warmup else 0)
        optimizer.step()
        optimizer.zero_grad()
        history.append([one.rank for one in layers])
    return [one.delta().detach() for one in layers], history


@pytest.mark.parametrize(
    ("fields", "optimizer"),
    [
        ({}, torch.optim.AdamW),
        ({"rank_growth_model": "exponential"}, torch.optim.Adam),
        ({"init": "c_zero", "fixed_scale": True, "restart_warmup": False}, torch.optim.AdamW),
        ({"blocks": True, "incre_rank_num": 2}, torch.optim.AdamW),
        ({"incre_rank_num": 2, "orthogonality": 0.0}, torch.optim.AdamW),
    ],
)
def test_training_equals_growing_lists_of_parameters(fields, optimizer):
    method = small(**fields)
    run = Run(method, LENGTH, optimizer)
    starts = [copy.deepcopy(one.state_dict()) for one in run.adaptation.adapters.values()]
    history = run.train(LENGTH)
    deltas, expected = reference(method, starts, optimizer)
    assert history == expected
    assert sum(history[-1]) == 9
    for delta, wanted in zip(run.deltas(), deltas, strict=True):
        torch.testing.assert_close(delta, wanted, rtol=1e-8, atol=1e-8)  # thirty steps of two programs

# SPDX-License-Identifier: Apache-2.0
"""Rows that start late against parameters of their own that join the optimizer then."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rankwise import LoRA, StateError
from rankwise.core.rows import FROZEN, Rows, hold, linear_from_birth, settle
from rankwise.core.slot import Installed
from rankwise.core.training import Training
from rankwise.testing import assert_close

STEPS, PEAK, WARMUP = 12, 0.1, 3

OPTIMIZERS = {
    "AdamW": lambda p: torch.optim.AdamW(p, lr=PEAK, weight_decay=0.3),
    "AdamW-amsgrad": lambda p: torch.optim.AdamW(p, lr=PEAK, weight_decay=0.3, amsgrad=True, betas=(0.7, 0.9)),
    "AdamW-maximize": lambda p: torch.optim.AdamW(p, lr=PEAK, maximize=True, eps=0.1, foreach=True),
    "AdamW-fused": lambda p: torch.optim.AdamW(p, lr=PEAK, weight_decay=0.3, fused=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=PEAK, weight_decay=0.3),
    "SGD": lambda p: torch.optim.SGD(p, lr=PEAK, momentum=0.9, nesterov=True, weight_decay=0.3),
}


def gradient(step, size=1.0):
    generator = torch.Generator().manual_seed(step)
    return size * torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)


def start():
    return torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(99), dtype=torch.float64)


def training_of(optimizer):
    return Training("default", Installed(LoRA(), 0), {}, optimizer)


def in_one_tensor(make, born, *, warm, size=1.0):
    """Train one tensor whose rows (dimension -2, a stack of 2) start when `born` says."""
    parameter = nn.Parameter(start())
    optimizer = make([parameter])
    training = training_of(optimizer)
    rows = [Rows(parameter, born, dim=-2)]
    for step in range(STEPS):
        parameter.grad = gradient(step, size)
        hold(training, rows)
        optimizer.step()
        settle(training, rows, linear_from_birth(WARMUP, STEPS) if warm else None)
        training.schedule["step"] = torch.tensor(step + 1)
    return parameter.detach()


def one_by_one(make, born, *, warm, size=1.0):
    """The same with a parameter of its own for each row, which joins the optimizer when it starts."""
    values, result = start(), start()
    for index in [(i, j) for i in range(2) for j in range(4)]:
        first = int(born[index])
        if first == FROZEN:
            continue
        row = nn.Parameter(values[index].clone())
        optimizer = make([row])
        for step in range(first, STEPS):
            if warm and first:
                age, length = step - first, STEPS - first
                share = age / WARMUP if age < WARMUP else (length - age) / max(1, length - WARMUP)
                optimizer.param_groups[0]["lr"] = PEAK * share
            row.grad = gradient(step, size)[index]
            optimizer.step()
        result[index] = row.detach()
    return result


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_late_rows_move_as_new_parameters_do(name, warm):
    born = torch.tensor([[0, 4, FROZEN, 1], [7, 0, 4, 11]])
    found = in_one_tensor(OPTIMIZERS[name], born, warm=warm)
    assert_close(found, one_by_one(OPTIMIZERS[name], born, warm=warm))
    assert torch.equal(found[0, 2], start()[0, 2])


@settings(max_examples=15, deadline=None)
@given(born=st.lists(st.integers(FROZEN, STEPS), min_size=8, max_size=8), size=st.sampled_from([1e-7, 1.0, 1e4]))
def test_the_epsilon_of_adam_is_no_approximation(born, size):
    born = torch.tensor(born).reshape(2, 4)
    found = in_one_tensor(OPTIMIZERS["AdamW"], born, warm=True, size=size)
    assert_close(found, one_by_one(OPTIMIZERS["AdamW"], born, warm=True, size=size))


@pytest.mark.parametrize("name", ["AdamW", "Adam", "SGD"])
def test_rows_from_the_start_keep_the_optimizers_bits(name):
    found = in_one_tensor(OPTIMIZERS[name], torch.zeros(2, 4, dtype=torch.int64), warm=True)
    parameter = nn.Parameter(start())
    optimizer = OPTIMIZERS[name]([parameter])
    for step in range(STEPS):
        parameter.grad = gradient(step)
        optimizer.step()
    assert torch.equal(found, parameter)


def test_state_of_waiting_rows_stays_zero():
    parameter = nn.Parameter(start())
    optimizer = OPTIMIZERS["Adam"]([parameter])
    training, rows = training_of(optimizer), [Rows(parameter, torch.tensor([[0, FROZEN, 5, 0]] * 2), dim=-2)]
    parameter.grad = gradient(0)
    hold(training, rows)
    optimizer.step()
    settle(training, rows)
    state = optimizer.state[parameter]
    assert all(bool((state[key][:, 1:3] == 0).all()) for key in ("exp_avg", "exp_avg_sq"))
    assert all(bool((state[key][:, [0, 3]] != 0).all()) for key in ("exp_avg", "exp_avg_sq"))


def test_a_tensor_without_a_gradient_is_left_alone():
    parameter = nn.Parameter(start())
    training = training_of(OPTIMIZERS["AdamW"]([parameter]))
    rows = [Rows(parameter, torch.tensor([[0, FROZEN, 5, 0]] * 2), dim=-2)]
    hold(training, rows)
    training.optimizer.step()
    settle(training, rows)
    assert torch.equal(parameter, start())
    assert not training.kept


def test_an_unknown_optimizer_is_refused():
    parameter = nn.Parameter(start())
    training = training_of(torch.optim.Adagrad([parameter]))
    with pytest.raises(StateError, match="known for torch's Adam, AdamW and SGD, not for Adagrad"):
        hold(training, [Rows(parameter, torch.zeros(2, 4, dtype=torch.int64), dim=-2)])


def test_sgd_at_learning_rate_zero_cannot_move_late_rows():
    parameter = nn.Parameter(start())
    optimizer = OPTIMIZERS["SGD"]([parameter])
    optimizer.param_groups[0] |= {"initial_lr": PEAK, "lr": 0.0}
    training, rows = training_of(optimizer), [Rows(parameter, torch.tensor([[0, 3, 1, 0]] * 2), dim=-2)]
    training.schedule["step"] = torch.tensor(5)
    parameter.grad = gradient(0)
    hold(training, rows)
    optimizer.step()
    with pytest.raises(StateError, match="learning rate of adapter 'default' is 0 at step 5"):
        settle(training, rows, linear_from_birth(WARMUP, STEPS))

"""Row 4: a run that stops at a random step and goes on from its checkpoint ends with the bits of an unbroken one.

Dropout, gradient accumulation, an optimizer with state, a learning-rate schedule and, for methods that have one, a
schedule event across the cut. Saved are the adapter's folder and torch's own state dicts; the model is built anew.
"""

import random
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from rankwise import Adaptation, Method, load
from reliability.models import adapted, fitting, perturb, tokens

STEPS, ACCUMULATE = 20, 2
TARGETS = ["fc", "out", "attn", "first", "second"]


@dataclass
class Run:
    """A model in training."""

    model: nn.Module
    adaptation: Adaptation
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    step: int = 0


def unequal(method: Method, folder: Path, stops: int, seed: int = 0) -> list[int]:
    """The steps, out of `stops` random ones, after which a resumed run ended with other bits."""
    straight = _started(method)
    torch.manual_seed(seed)
    _train(straight, STEPS)
    expected = _state(straight)
    wrong = []
    for stop in random.Random(seed).sample(range(1, STEPS), stops):
        first = _started(method)
        torch.manual_seed(seed)
        _train(first, stop)
        _save(first, folder / str(stop))
        second = _resumed(method, folder / str(stop), stop)
        _train(second, STEPS)
        present = _state(second)
        same = expected.keys() == present.keys() and all(torch.equal(expected[key], present[key]) for key in expected)
        wrong += [] if same else [stop]
    return wrong


def _started(method: Method) -> Run:
    base, targets = fitting(type(method))
    model = nn.Sequential(base, nn.Dropout(0.2))
    adaptation = adapted(model, method, [name for name in targets if name in TARGETS])
    perturb(adaptation.parameters(), 0.05)
    return _run(model, adaptation)


def _run(model: nn.Module, adaptation: Adaptation) -> Run:
    optimizer = torch.optim.AdamW(list(adaptation.parameters()), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    adaptation.attach(optimizer)
    return Run(model, adaptation, optimizer, schedule)


def _train(run: Run, until: int) -> None:
    while run.step < until:
        for part in range(ACCUMULATE):
            with _inputs(run.adaptation):
                run.model(tokens(seed=run.step * ACCUMULATE + part)).square().mean().backward()
        run.optimizer.step()
        run.optimizer.zero_grad()
        run.schedule.step()
        run.step += 1


def _inputs(adaptation: Adaptation) -> AbstractContextManager:
    names, values = adaptation.method.inputs, list(adaptation.method.input_values)
    return adaptation.context(**dict.fromkeys(names, values)) if names else nullcontext()


def _save(run: Run, folder: Path) -> None:
    run.adaptation.save(folder)
    parts = {
        "optimizer": run.optimizer.state_dict(),
        "schedule": run.schedule.state_dict(),
        "rng": torch.get_rng_state(),
    }
    torch.save(parts, folder / "training.pt")


def _resumed(method: Method, folder: Path, step: int) -> Run:
    model = nn.Sequential(fitting(type(method))[0], nn.Dropout(0.2))
    run = _run(model, load(model, folder))
    parts = torch.load(folder / "training.pt", weights_only=True)
    run.optimizer.load_state_dict(parts["optimizer"])
    run.schedule.load_state_dict(parts["schedule"])
    torch.set_rng_state(parts["rng"])
    run.step = step
    return run


def _state(run: Run) -> dict[str, torch.Tensor]:
    state = {f"adapter {key}": value for key, value in run.adaptation.named_parameters()}
    for index, entry in enumerate(run.optimizer.state_dict()["state"].values()):
        state |= {f"optimizer {index} {key}": torch.as_tensor(value) for key, value in entry.items()}
    return state | {"rng": torch.get_rng_state()}

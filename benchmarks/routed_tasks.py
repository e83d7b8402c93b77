# SPDX-License-Identifier: Apache-2.0
"""Many tasks on one inventory of skills: what heads can fit, what new tasks cost, and the time of a mixed batch.

    python benchmarks/routed_tasks.py [--seeds 2] [--only errors|time]

Errors: the deltas of 24 tasks on one 16 x 16 weight are mixtures of 4 rank-1 skills in each of 4 blocks. Each method
trains on all of them by regression (800 steps of Adam on fresh inputs, 8 to a task; skills 1e-2, routing numbers 1e-1).
Then 6 new tasks of the same kind are fitted from 8 examples each by their routing numbers alone (500 steps). The
numbers are ||delta - goal||_F / ||goal||_F, mean over tasks. Time: forward and backward of four 768 x 768 layers on 512
tokens, 8 examples, relative to LoRA of the same rank.
"""

import argparse
import statistics
import time

import torch
from report import environment, table
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise import Adaptation, LoRA, Method, adapt
from rankwise.adapters.mhr import MHR, router_only
from rankwise.adapters.poly import Poly

SIDE, TASKS, NEW, EXAMPLES = 16, 24, 6, 8
METHODS: dict[str, Method] = {
    "MHR": MHR(rank=2, skills=4, tasks=TASKS, heads=4),
    "Poly": Poly(rank=2, skills=4, tasks=TASKS),
    "LoRA": LoRA(rank=8, alpha=8),
}


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", choices=("errors", "time"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.only in (None, "errors"):
        runs = [errors(seed) for seed in range(asked.seeds)]
        rows = [[name, *(" / ".join(f"{run[name][i]:.3f}" for run in runs) for i in (0, 1))] for name in METHODS]
        print(table(["method", f"error on {TASKS} tasks", f"on {NEW} new ones, routing alone"], rows))
    if asked.only in (None, "time"):
        print(times())
    print(environment(threads=1))


def errors(seed: int) -> dict[str, tuple[float, float]]:
    """The relative errors on the tasks trained and on the new ones, by method."""
    generator = torch.Generator().manual_seed(seed)
    goals = mixtures(generator, TASKS + NEW)
    seen, new = goals[:TASKS], goals[TASKS:]
    few = torch.randn(NEW, EXAMPLES, SIDE, generator=generator)
    found = {}
    for name, method in METHODS.items():
        layer = nn.Linear(SIDE, SIDE, bias=False)
        nn.init.zeros_(layer.weight)
        adaptation = adapt(layer, method, ["weight"], seed=seed)
        draws = torch.Generator().manual_seed(seed + 1)
        fit(adaptation, seen, lambda draws=draws: torch.randn(TASKS, EXAMPLES, SIDE, generator=draws), 800)
        error = relative(adaptation, seen)
        if isinstance(method, Poly):
            adaptation = router_only(adaptation, tasks=NEW, seed=seed)
            fit(adaptation, new, lambda: few, 500)
        found[name] = (error, relative(adaptation, new))
    return found


def mixtures(generator: torch.Generator, tasks: int) -> Tensor:
    """Deltas [tasks, out, in] of rank 1 whose four blocks are mixed by themselves."""
    heads, skills, width = 4, 4, SIDE // 4
    a = torch.randn(heads, skills, width, generator=generator)
    b = torch.randn(heads, skills, width, generator=generator)
    weights = torch.sigmoid(3 * torch.randn(tasks, heads, skills, generator=generator))
    weights = weights / weights.sum(-1, keepdim=True)
    mixed = [torch.einsum("ths,hsw->thw", weights, one).flatten(1) for one in (b, a)]
    return mixed[0][:, :, None] * mixed[1][:, None, :]


def fit(adaptation: Adaptation, goals: Tensor, draw, steps: int) -> None:
    """Regression on all tasks at once."""
    named = list(adaptation.named_parameters())
    groups = [
        {"params": [p for name, p in named if name.endswith("logits") == router], "lr": rate}
        for router, rate in ((True, 0.1), (False, 0.01))
    ]
    optimizer = torch.optim.Adam([group for group in groups if group["params"]])
    for _ in range(steps):
        x = draw()
        optimizer.zero_grad()
        F.mse_loss(outputs(adaptation, x), x @ goals.mT).backward()
        optimizer.step()


def outputs(adaptation: Adaptation, x: Tensor) -> Tensor:
    """Row t of x under task t, if the method knows tasks."""
    if not adaptation.method.inputs:
        return adaptation.model(x)
    with adaptation.context(task=list(range(len(x)))):
        return adaptation.model(x)


@torch.no_grad()
def relative(adaptation: Adaptation, goals: Tensor) -> float:
    """The mean error of the deltas."""
    deltas = outputs(adaptation, torch.eye(SIDE).expand(len(goals), SIDE, SIDE)).mT
    return float(((deltas - goals).norm(dim=(1, 2)) / goals.norm(dim=(1, 2))).mean())


def times(steps: int = 8) -> str:
    """A step's time relative to LoRA's."""
    rows = []
    for rank in (1, 8, 16):
        method = MHR(rank=rank, skills=8, tasks=8, heads=8)
        lora = step_time(LoRA(rank=rank), None, steps)
        one, mixed = step_time(method, 3, steps), step_time(method, list(range(8)), steps)
        rows.append([str(rank), "1.00", f"{one / lora:.2f}", f"{mixed / lora:.2f}"])
    return table(["rank", "LoRA", "MHR, one task", "MHR, eight tasks"], rows)


def step_time(method: Method, task: int | list[int] | None, steps: int) -> float:
    """Median seconds of a forward and backward pass."""
    model = nn.Sequential(*[nn.Linear(768, 768) for _ in range(4)])
    adaptation = adapt(model, method)
    x, taken = torch.randn(8, 64, 768), []
    for _ in range(steps):
        start = time.perf_counter()
        if task is None:
            model(x).square().sum().backward()
        else:
            with adaptation.context(task=task):
                model(x).square().sum().backward()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


if __name__ == "__main__":
    main()

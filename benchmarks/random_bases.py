# SPDX-License-Identifier: Apache-2.0
"""What coefficients of frozen random bases can learn: turned digits, a flat and a low-rank target, and a step's time.

    python benchmarks/random_bases.py [--seeds 4] [--only digits|spectrum|time]

Digits: a residual network 64-96-(4 x 96-96)-10 learns 1300 of scikit-learn's 8 x 8 digits upright (600 steps of Adam,
batch 64), then its four hidden layers are adapted to the same digits turned by a quarter (300 steps of AdamW). Of the
other 497 turned digits 247 choose one of three learning rates, the same for all seeds, and 250 give the accuracy.
Spectrum: the delta of one 48 x 48 weight is fitted to an orthogonal matrix and to one of rank 4 (3000 steps of Adam
with a cosine from 2e-2), as relative squared error. Time: forward and backward of four 768 x 768 layers on 512 tokens,
relative to LoRA of rank 16; and what autograd keeps for backward.
"""

import argparse
import time

import peft
import torch
from report import environment, table
from torch import Tensor, nn
from turned_digits import Score, compared, fit, hits, upright_base

from rankwise import LoRA, Method, adapt
from rankwise.adapters.nola import NOLA
from rankwise.adapters.randlora import RandLoRA

LABELS, HELD, STEPS = 1300, 247, 300
RATES = (3e-3, 1e-2, 3e-2)
DIGITS: dict[str, Method] = {
    "LoRA(rank=1)": LoRA(rank=1, alpha=2),
    "LoRA(rank=2)": LoRA(rank=2, alpha=4),
    "LoRA(rank=8)": LoRA(rank=8, alpha=16),
    "RandLoRA(rank=96)": RandLoRA(rank=96),
    "RandLoRA(rank=32)": RandLoRA(rank=32),
    "NOLA(rank=8, k=48)": NOLA(rank=8, k=48, alpha=16),
    "NOLA(rank=1, k=48)": NOLA(rank=1, k=48, alpha=2),
}
SPECTRUM: dict[str, Method] = {
    "LoRA(rank=4)": LoRA(rank=4),
    "LoRA(rank=5)": LoRA(rank=5),
    "RandLoRA(rank=8)": RandLoRA(rank=8),
    "RandLoRA(rank=6)": RandLoRA(rank=6),
}
TIMED: dict[str, Method | peft.PeftConfig] = {
    "LoRA(rank=16)": LoRA(rank=16),
    "RandLoRA(rank=32)": RandLoRA(rank=32),
    "RandLoRA(rank=128)": RandLoRA(rank=128),
    "PEFT, RandLora(r=32)": peft.RandLoraConfig(r=32, target_modules=["0", "1", "2", "3"]),
    "NOLA(rank=8, k=64)": NOLA(rank=8, k=64),
    "NOLA(rank=8, k=512)": NOLA(rank=8, k=512),
}


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--only", choices=("digits", "spectrum", "time"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.only in (None, "digits"):
        print(compared(DIGITS, RATES, range(asked.seeds), transferred))
    if asked.only in (None, "spectrum"):
        print(spectrum())
    if asked.only in (None, "time"):
        print(times())
        print(f"drawing the random numbers of one layer for k = 512, r = 8 takes {drawn():.3f} s")
    print(environment(threads=1))


def transferred(method: Method, rate: float, seed: int) -> Score:
    """Accuracy on the digits that choose the rate and on the others."""
    generator = torch.Generator().manual_seed(seed)
    model, digits = upright_base(seed, LABELS, generator)
    adaptation = adapt(model, method, r"blocks\..*", seed=seed)
    optimizer = torch.optim.AdamW(adaptation.parameters(), lr=rate)
    fit(model, optimizer, (digits.turned[:LABELS], digits.labels[:LABELS]), STEPS, generator)
    right = hits(model, digits.turned[LABELS:], digits.labels[LABELS:])
    return Score(float(right[:HELD].mean()), float(right[HELD:].mean()), adaptation.summary().trainable)


def spectrum() -> str:
    """The relative squared error of the best delta found."""
    generator = torch.Generator().manual_seed(0)
    square = torch.linalg.qr(torch.randn(48, 48, generator=generator))[0]
    low = torch.randn(48, 4, generator=generator) @ torch.randn(4, 48, generator=generator)
    rows = []
    for name, method in SPECTRUM.items():
        fitted = [approximated(method, target) for target in (square, low)]
        rows.append([name, str(fitted[0][1]), *(f"{error:.3f}" for error, _ in fitted)])
        print(rows[-1], flush=True)
    return table(["method", "parameters", "orthogonal target", "target of rank 4"], rows)


def approximated(method: Method, target: Tensor, steps: int = 3000) -> tuple[float, int]:
    """The error of a delta trained towards a target, and how many parameters it has."""
    adaptation = adapt(nn.Sequential(nn.Linear(48, 48)), method, ["0"])
    optimizer = torch.optim.Adam(adaptation.parameters(), lr=2e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    error = torch.ones(())
    for _ in range(steps):
        optimizer.zero_grad()
        error = (adaptation.adapters["0"].delta() - target).square().sum() / target.square().sum()
        error.backward()
        optimizer.step()
        schedule.step()
    return float(error.detach()), adaptation.summary().trainable


def times(size: int = 768, tokens: int = 512, rounds: int = 20) -> str:
    """The least time of a training step without the optimizer, in turns, and the memory autograd keeps for backward."""
    x, models, memory = torch.randn(tokens, size, requires_grad=True), {}, {}
    for name, method in TIMED.items():
        models[name] = nn.Sequential(*[nn.Linear(size, size) for _ in range(4)])
        if isinstance(method, Method):
            adapt(models[name], method)
        else:
            peft.get_peft_model(models[name], method)
        memory[name] = _kept(models[name], x) / 2**20
    took = {name: min(_timed(model, x) for _ in range(3)) for name, model in models.items()}
    for _ in range(rounds):
        took = {name: min(took[name], _timed(model, x)) for name, model in models.items()}
    first = next(iter(took.values()))
    rows = [[name, f"{least / first:.2f}", f"{memory[name]:.1f}"] for name, least in took.items()]
    return table(["method", "step", "kept for backward, MiB"], rows)


def drawn(size: int = 768, k: int = 512, rank: int = 8) -> float:
    """The least time to draw what both factors of one layer combine, in seconds."""
    generator, took = torch.Generator(), []
    for _ in range(5):
        start = time.perf_counter()
        torch.rand(2 * k, rank * size, generator=generator)
        took.append(time.perf_counter() - start)
    return min(took)


def _kept(model: nn.Module, x: Tensor) -> int:
    """Bytes that autograd keeps for backward beside the model's own tensors."""
    kept: dict[int, torch.UntypedStorage] = {}  # holding a storage keeps its address from being used again

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(x).sum().backward()
    for one in (*model.parameters(), *model.buffers()):
        kept.pop(one.untyped_storage().data_ptr(), None)
    return sum(storage.nbytes() for storage in kept.values())


def _timed(model: nn.Module, x: Tensor) -> float:
    start = time.perf_counter()
    model(x).sum().backward()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Adapters on a small U-Net: how well they move a segmentation to another domain, and what a kernel's factors cost.

    python benchmarks/conv_family.py [--seeds 2] [--steps 250]

Transfer: a U-Net of 7,049 parameters learns bright discs in noise; then it is adapted to 24 images of dark bars under
a ramp of intensity, by full fine-tuning, by its decoder alone, or by adapters on its five 3x3 convolutions (its 1x1
output stays frozen). Without groups ConvLoRA is LoRA, and ConvDoRA is DoRA. The score is the mean Dice coefficient on
64 fresh images of bars. Loss: cross entropy + 1 - soft Dice; Adam, learning rate 5e-3 and alpha = 2 rank for adapters,
2e-3 for weights.

Cost: the time of forward and backward of one 3x3 convolution with CPLoRA, whose factor of the input runs side by side,
over the frozen layer's; beside it the same update as one 3x3 convolution to rank channels, which is what LoRA runs.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from report import environment, table
from torch import Tensor, nn
from torch.nn import functional as F

from rankwise import Method, adapt
from rankwise.adapters.convdora import ConvDoRA
from rankwise.adapters.convlora import ConvLoRA
from rankwise.adapters.cpdora import CPDoRA
from rankwise.adapters.cplora import CPLoRA
from rankwise.adapters.dorac import DoRAC
from rankwise.adapters.flora import FLoRA
from rankwise.adapters.lorac import LoRAC
from rankwise.core.adapter import Factored

SIZE, LABELED, TESTED = 32, 24, 64
LAYERS = ["enc1", "enc2", "enc3", "dec1", "dec2"]
FAMILY: dict[type[CPLoRA | ConvLoRA | LoRAC], tuple[int, ...]] = {
    CPLoRA: (2, 8, 32),
    CPDoRA: (2, 8, 32),
    ConvLoRA: (1, 4),
    ConvDoRA: (1, 4),
    LoRAC: (1, 4),
    DoRAC: (1, 4),
}
METHODS: dict[str, Method] = {
    **{f"{kind.__name__}(rank={r})": kind(rank=r, alpha=2.0 * r) for kind, ranks in FAMILY.items() for r in ranks},
    **{f"FLoRA(rank={r})": FLoRA(rank=r) for r in (2, 4)},
}
RANKS = {  # the first layer's kernel of 8 x 1 x 3 x 3 needs no more
    **{f"{kind}(rank=32)": {"enc1": 9} for kind in ("CPLoRA", "CPDoRA")},
    **{f"{kind}(rank=4)": {"enc1": 1} for kind in ("LoRAC", "DoRAC")},
}
SHAPES = [(64, 56, 4), (64, 56, 16), (128, 56, 16), (256, 28, 16), (512, 14, 16)]  # channels, side of the map, rank


class UNet(nn.Module):
    """Three encoder and two decoder convolutions with skips, 8 to 16 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.enc1, self.enc2 = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.enc3 = nn.Conv2d(16, 16, 3, padding=1)
        self.dec1, self.dec2 = nn.Conv2d(32, 8, 3, padding=1), nn.Conv2d(16, 8, 3, padding=1)
        self.out = nn.Conv2d(8, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """One logit for each pixel."""
        first = F.relu(self.enc1(x))
        second = F.relu(self.enc2(F.max_pool2d(first, 2)))
        third = F.relu(self.enc3(F.max_pool2d(second, 2)))
        up = F.relu(self.dec1(torch.cat([F.interpolate(third, scale_factor=2), second], 1)))
        return self.out(F.relu(self.dec2(torch.cat([F.interpolate(up, scale_factor=2), first], 1))))


@dataclass(frozen=True)
class Images:
    """Inputs [n, 1, size, size] and masks of the same shape."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Result:
    """How many parameters were trained, and the Dice coefficient reached."""

    parameters: int
    dice: float


def discs(count: int, generator: torch.Generator) -> Images:
    """The source domain: bright discs with a squared radius between 16 and 50."""
    rows, columns = _grid()
    middle = torch.rand(count, 2, 1, 1, generator=generator) * 16 + 8
    radius = torch.rand(count, 1, 1, generator=generator) * 34 + 16
    mask = ((rows - middle[:, 0]) ** 2 + (columns - middle[:, 1]) ** 2 < radius).float()[:, None]
    return Images(_noise(count, generator) + 1.5 * mask, mask)


def bars(count: int, generator: torch.Generator) -> Images:
    """The target domain: dark bars of 17 x 5 pixels, lying or standing, under a ramp of intensity."""
    rows, columns = _grid()
    middle = torch.rand(count, 2, 1, 1, generator=generator) * 14 + 9
    standing = torch.rand(count, 1, 1, generator=generator) < 0.5
    along, across = (rows - middle[:, 0]).abs(), (columns - middle[:, 1]).abs()
    along, across = torch.where(standing, along, across), torch.where(standing, across, along)
    mask = ((along <= 8) & (across <= 2)).float()[:, None]
    return Images(_noise(count, generator) - mask + columns / 64, mask)


def pretrained(seed: int, steps: int) -> UNet:
    """The network after learning discs."""
    torch.manual_seed(seed)
    model, generator = UNet(), torch.Generator().manual_seed(1000 + seed)
    fit(model, list(model.parameters()), lambda: discs(LABELED, generator), 5e-3, steps)
    return model


def fit(model: nn.Module, parameters: list[Tensor], batch: Callable[[], Images], rate: float, steps: int) -> None:
    """Adam on cross entropy + 1 - soft Dice."""
    optimizer = torch.optim.Adam(parameters, lr=rate)
    for _ in range(steps):
        images = batch()
        logits = model(images.x)
        p = torch.sigmoid(logits)
        overlap = (2 * (p * images.y).sum() + 1) / (p.sum() + images.y.sum() + 1)
        optimizer.zero_grad()
        (F.binary_cross_entropy_with_logits(logits, images.y) + 1 - overlap).backward()
        optimizer.step()


def dice(model: nn.Module, images: Images) -> float:
    """The mean over images of 2 |A and B| / (|A| + |B|)."""
    with torch.no_grad():
        found = (model(images.x) > 0).float()
    both = (found * images.y).sum((1, 2, 3))
    return float((2 * both / (found.sum((1, 2, 3)) + images.y.sum((1, 2, 3)))).mean())


def transfer(seed: int, steps: int, methods: dict[str, Method]) -> dict[str, Result]:
    """Adapt one pretrained network in every way."""
    source, generator = pretrained(seed, steps), torch.Generator().manual_seed(2000 + seed)
    train, test = bars(LABELED, generator), bars(TESTED, generator)
    results = {"not adapted": Result(0, dice(source, test))}
    for name, prefixes in {"full fine-tuning": ("",), "decoder alone": ("dec", "out")}.items():
        model = copy.deepcopy(source)
        chosen: list[Tensor] = [p for key, p in model.named_parameters() if key.startswith(prefixes)]
        fit(model, chosen, lambda: train, 2e-3, steps)
        results[name] = Result(sum(p.numel() for p in chosen), dice(model, test))
    for name, method in methods.items():
        model = copy.deepcopy(source)
        adaptation = adapt(model, method, LAYERS, ranks=RANKS.get(name), seed=seed)
        fit(model, list(adaptation.parameters()), lambda: train, 5e-3, steps)
        results[name] = Result(adaptation.summary().trainable, dice(model, test))
    return results


def mean(runs: list[dict[str, Result]]) -> dict[str, Result]:
    """The means over seeds."""
    return {
        name: Result(one.parameters, statistics.mean(run[name].dice for run in runs)) for name, one in runs[0].items()
    }


def costs(channels: int, side: int, rank: int, rounds: int = 9) -> tuple[float, float]:
    """The times of one layer with the update side by side and as a whole kernel, over the frozen layer's."""
    x = torch.randn(2, channels, side, side).requires_grad_()
    frozen, adapted = (nn.Conv2d(channels, channels, 3, padding=1).requires_grad_(False) for _ in range(2))
    adapter = adapt(adapted, CPLoRA(rank=rank), ["weight"]).adapters["weight"]

    def whole(x: Tensor) -> Tensor:
        return Factored.add(adapter, x, frozen(x))

    runs = {"frozen": frozen, "sides": adapted, "whole": whole}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run(x).sum().backward()
            seconds[name].append(time.perf_counter() - start)
    base, sides, kernel = (statistics.median(seconds[name][2:]) for name in runs)
    return sides / base, kernel / base


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=250)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = mean([transfer(seed, options.steps, METHODS) for seed in range(options.seeds)])
    rows = [[name, str(one.parameters), f"{one.dice:.3f}"] for name, one in results.items()]
    first = table(["what is trained", "parameters", "Dice"], rows)
    print(first, flush=True)
    measured = [(shape, costs(*shape)) for shape in SHAPES]
    heads = ["channels", "map", "rank", "CPLoRA, side by side", "as one kernel"]
    cells = [[str(c), f"{s} x {s}", str(r), f"{a:.2f}", f"{b:.2f}"] for (c, s, r), (a, b) in measured]
    print(f"{table(heads, cells)}\n\n{environment(threads=1)}")


def _grid() -> tuple[Tensor, Tensor]:
    line = torch.arange(SIZE, dtype=torch.float32)
    return line[:, None], line[None, :]


def _noise(count: int, generator: torch.Generator) -> Tensor:
    return 0.5 * torch.randn(count, 1, SIZE, SIZE, generator=generator)


if __name__ == "__main__":
    main()

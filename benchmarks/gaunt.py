"""Gaunt tensor products against e3nn's, on the same outputs in the same run.

    python benchmarks/gaunt.py [--rows 1000] [--degrees 2 4 6 8] [--threads 2] [--write docs/symmetry/gaunt.md]

Two functions of degree L are multiplied to degree 2 L, for a batch of rows, one channel, float32. e3nn does the same
twice: as `TensorProduct` with the paths of the product and weights that make the numbers equal (checked in every run),
and as `FullTensorProduct` filtered to the same irreps, which returns the paths one by one. Blocks of calls of the three
take turns; times are medians of single calls. The growth exponent is the slope of log time over log L. The equivariance
error is that of float64, the worst of 20 random rotations, half of them with an inversion, relative to the norm.
"""

import argparse
import math
import os
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from report import environment, replace_section, table
from torch import Tensor, nn

from rankwise.symmetry.gaunt import GauntFullProduct, Irreps, rotation_matrix
from rankwise.symmetry.gaunt.coefficients import gaunt_factor

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from e3nn import o3

GOALS = {2: 5, 4: 8, 6: 12, 8: 20}


def restricted(degree: int) -> nn.Module:
    """e3nn's tensor product with the paths and weights of the product of functions."""
    first, last = o3.Irreps(str(Irreps.functions(degree))), o3.Irreps(str(Irreps.functions(2 * degree)))
    paths = [
        (a, b, c, "uuu", False, gaunt_factor(a, b, c) ** 2)
        for a in range(degree + 1)
        for b in range(degree + 1)
        for c in range(abs(a - b), a + b + 1, 2)
    ]
    return o3.TensorProduct(first, first, last, paths, irrep_normalization="none", path_normalization="none")


def filtered(degree: int) -> nn.Module:
    """e3nn's full tensor product with the irreps of functions only."""
    first = o3.Irreps(str(Irreps.functions(degree)))
    return o3.FullTensorProduct(first, first, filter_ir_out=[(c, (-1) ** c) for c in range(2 * degree + 1)])


def seconds(calls: list[Callable[[], object]], budget: float) -> list[float]:
    """Median seconds of each call in steady state: blocks of calls take turns until the time is spent."""
    sizes, found = [], [[] for _ in calls]
    for call in calls:
        call()
        start = time.perf_counter()
        call()
        sizes.append(max(3, math.ceil(0.05 / (time.perf_counter() - start))))
    stop = time.perf_counter() + budget
    while len(found[0]) < 9 or time.perf_counter() < stop:
        for call, size, times in zip(calls, sizes, found, strict=True):
            call()
            for _ in range(size):
                start = time.perf_counter()
                call()
                times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in found]


def stepping(module: nn.Module, x: Tensor, y: Tensor) -> Callable[[], object]:
    """Forward and backward to both inputs."""
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
    gradient = torch.ones_like(module(x, y))
    return lambda: torch.autograd.grad(module(x, y), (x, y), gradient)


def measured(degree: int, rows: int, budget: float) -> tuple[list[float], list[float], str]:
    """Seconds forward, seconds forward and backward (ours, restricted, filtered), and our route."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(rows, (degree + 1) ** 2, generator=generator) for _ in range(2))
    modules = GauntFullProduct(Irreps.functions(degree), Irreps.functions(degree)), restricted(degree), filtered(degree)
    torch.testing.assert_close(modules[0](x, y), modules[1](x, y), rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        forward = seconds([lambda module=module: module(x, y) for module in modules], budget)
    both = seconds([stepping(module, x, y) for module in modules], budget)
    return forward, both, modules[0].route.name


def equivariance(degree: int) -> float:
    """The largest relative error of float64 over random rotations and inversions."""
    product = GauntFullProduct(Irreps.functions(degree), Irreps.functions(degree)).double()
    generator = torch.Generator().manual_seed(1)
    worst = 0.0
    for number in range(20):
        turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
        turn = turn * torch.linalg.det(turn).sign() * (-1) ** number
        x, y = (torch.randn(50, (degree + 1) ** 2, generator=generator, dtype=torch.float64) for _ in range(2))
        inside, outside = rotation_matrix(degree, turn).T, rotation_matrix(2 * degree, turn).T
        expected = product(x, y) @ outside
        worst = max(worst, ((product(x @ inside, y @ inside) - expected).norm() / expected.norm()).item())
    return worst


def exponent(degrees: list[int], times: list[float]) -> float:
    """The slope of log time over log L by least squares."""
    logs = [math.log(degree) for degree in degrees]
    return statistics.linear_regression(logs, [math.log(value) for value in times]).slope


def main() -> None:
    """Measure, print, and write into the page if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--degrees", type=int, nargs="+", default=[2, 4, 6, 8])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=10.0, help="for each degree and each of the two columns")
    parser.add_argument("--write", help="page with the markers <!-- speed --> and <!-- end of speed -->")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    rows, all_forward, all_both = [], [], []
    for degree in asked.degrees:
        forward, both, route = measured(degree, asked.rows, asked.seconds)
        all_forward.append(forward)
        all_both.append(both)
        cells = [str(degree), route]
        for times in (forward, both):
            cells += [f"{value * 1e3:.2f}" for value in times] + [f"**{times[1] / times[0]:.1f}**"]
        rows.append([*cells, str(GOALS.get(degree, "-")), f"{equivariance(degree):.0e}"])
        print(rows[-1], flush=True)
    heads = ["L", "route", "ours", "e3nn, same numbers", "e3nn full, filtered", "times"]
    heads += ["ours, with backward", "e3nn", "e3nn full", "times", "goal", "equivariance error"]
    text = f"Milliseconds for {asked.rows} rows.\n\n{table(heads, rows)}"
    if len(asked.degrees) > 1:
        slopes = [
            [exponent(asked.degrees, [times[which] for times in found]) for which in (0, 1)]
            for found in (all_forward, all_both)
        ]
        text += (
            f"\n\nGrowth with L: ours L^{slopes[0][0]:.1f} forward and L^{slopes[1][0]:.1f} with backward, e3nn on the "
            f"same numbers L^{slopes[0][1]:.1f} and L^{slopes[1][1]:.1f}."
        )
    text += "\n\n" + environment(asked.threads, ("e3nn",))
    print(text)
    if asked.write:
        replace_section(asked.write, "speed", text)


if __name__ == "__main__":
    main()

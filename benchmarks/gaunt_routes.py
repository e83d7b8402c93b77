"""Times of the routes of a Gaunt product, for the table that its planner reads.

    python benchmarks/gaunt_routes.py [--device cpu] [--write src/rankwise/symmetry/gaunt/routes.json]

Forward and backward of L x L -> 2 L in float32 for each route, the routes taking turns; milliseconds, medians. Entries
of other devices stay as they are.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from report import environment

from rankwise.symmetry.gaunt.pattern import Pattern
from rankwise.symmetry.gaunt.planner import ROUTES

DEGREES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20)
ROWS = (32, 1000, 8000)


def milliseconds(degree: int, rows: int, device: str, rounds: int) -> dict[str, float]:
    """Median times by route."""
    routes = [route(Pattern((degree, degree, 2 * degree))).to(device) for route in ROUTES]
    x, y = (torch.randn(1, rows, (degree + 1) ** 2, device=device, requires_grad=True) for _ in range(2))
    gradient = torch.ones(1, rows, (2 * degree + 1) ** 2, device=device)
    found: dict[str, list[float]] = {route.name: [] for route in ROUTES}
    for number in range(rounds + 1):
        for route in routes:
            if device != "cpu":
                torch.accelerator.synchronize()
            start = time.perf_counter()
            torch.autograd.grad(route(x, y), (x, y), gradient)
            if device != "cpu":
                torch.accelerator.synchronize()
            if number:
                found[route.name].append((time.perf_counter() - start) * 1e3)
    return {name: round(statistics.median(times), 4) for name, times in found.items()}


def main() -> None:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--largest", type=int, default=1 << 22, help="most samples, rows times grid points, of a case")
    parser.add_argument("--write", help="the table to renew")
    asked = parser.parse_args()
    entries = []
    for degree in DEGREES:
        for rows in ROWS:
            if rows * (4 * degree + 1) ** 2 > asked.largest:
                continue
            times = milliseconds(degree, rows, asked.device, asked.rounds)
            entries.append({"device": asked.device, "degree": degree, "rows": rows, "milliseconds": times})
            print(degree, rows, times, flush=True)
    if asked.write:
        path = Path(asked.write)
        others = [entry for entry in json.loads(path.read_text())["entries"] if entry["device"] != asked.device]
        path.write_text(
            json.dumps({"measured": environment(torch.get_num_threads(), ()), "entries": others + entries}, indent=1)
            + "\n"
        )


if __name__ == "__main__":
    main()

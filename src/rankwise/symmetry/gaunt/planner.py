# SPDX-License-Identifier: Apache-2.0
"""Which route is fastest, looked up in a table of times measured by benchmarks/gaunt_routes.py (routes.json).

The table holds, for a device and for products of degrees L x L -> 2L, the time of forward and backward of each route
at several numbers of rows (batch times channels). The entry nearest in the sum of degrees and then, on a logarithmic
scale, in rows decides. All routes are exact, so a wrong guess costs time only.
"""

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import torch

from rankwise.symmetry.gaunt.dense import DenseGrid
from rankwise.symmetry.gaunt.fourier import Fourier
from rankwise.symmetry.gaunt.fused import FusedGrid
from rankwise.symmetry.gaunt.pattern import Pattern
from rankwise.symmetry.gaunt.route import Route
from rankwise.symmetry.gaunt.separable import SeparableGrid

ROUTES: tuple[type[Route], ...] = (DenseGrid, SeparableGrid, FusedGrid, Fourier)


@dataclass(frozen=True)
class Choice:
    """A route and what speaks for it.

    Args:
        route: the class of the route.
        reason: the measurement that decided, or that none did.
    """

    route: type[Route]
    reason: str

    def __str__(self) -> str:
        return f"{self.route.name}: {self.reason}"


def plan(pattern: Pattern, rows: int = 1000, device: str | torch.device = "cpu") -> Choice:
    """Choose the route for products of a pattern.

    Args:
        pattern: degrees and types.
        rows: batch times channels, as far as it is known.
        device: where it will run; a device that was not measured takes the processor's entry, and the reason says so.
    """
    kind = torch.device(device).type
    measured = [entry for entry in measurements() if entry["device"] == kind]
    missing = "" if measured else f" (not measured on {kind}; this is the processor's)"
    measured = measured or [entry for entry in measurements() if entry["device"] == "cpu"]
    degree = pattern.total / 4
    entry = min(
        measured, key=lambda entry: (abs(entry["degree"] - degree), abs(math.log(entry["rows"] / max(rows, 1))))
    )
    times: dict[str, float] = entry["milliseconds"]
    able = [route for route in ROUTES if route.only in (None, kind)]
    ranking = sorted(able, key=lambda route: times[route.name])
    listed = ", ".join(f"{route.name} {times[route.name]:.3g} ms" for route in ranking)
    return Choice(ranking[0], f"L = {entry['degree']}, {entry['rows']} rows measured: {listed}{missing}")


@lru_cache(maxsize=1)
def measurements() -> list[dict]:
    """The entries of the table: device, degree L, rows, and milliseconds by route."""
    return json.loads((files("rankwise.symmetry.gaunt") / "routes.json").read_text())["entries"]

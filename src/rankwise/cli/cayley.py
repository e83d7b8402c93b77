# SPDX-License-Identifier: Apache-2.0
"""`rankwise cayley`: count the states of a Cayley graph at each distance."""

import re
import time
from collections.abc import Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from rankwise.cli.docs import first_paragraph
from rankwise.cli.mistakes import reported
from rankwise.cli.terminal import output
from rankwise.errors import SymmetryError

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@reported
def cayley(  # noqa: PLR0913, PLR0917 - one for each option
    family: Annotated[str, typer.Argument(help="A generator family; `list` shows them all.")],
    parameters: Annotated[
        list[str] | None, typer.Argument(metavar="[N]...", help="Its parameters; a range such as 4..11 searches each.")
    ] = None,
    fit: Annotated[bool, typer.Option("--fit", help="Fit the diameters of a range by a quasi-polynomial.")] = False,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the growth into this PNG file.")] = None,
    save: Annotated[Path | None, typer.Option("--save", help="Write the growth into this JSON file.")] = None,
    engine: Annotated[str | None, typer.Option("--engine", help="Force an engine; by default one is chosen.")] = None,
    memory: Annotated[str | None, typer.Option("--memory", help="Most memory to use, such as 4GB.")] = None,
    disk: Annotated[Path | None, typer.Option("--disk", help="Folder for what exceeds the memory; resumes.")] = None,
    max_layers: Annotated[int | None, typer.Option("--max-layers", help="Largest distance to search.")] = None,
) -> None:
    """Count the states of a Cayley graph at each distance from the start, exactly.

    `rankwise cayley lrx 12` searches 12! permutations; `rankwise cayley lrx 4..11 --fit` looks for the formula behind
    the diameters.
    """
    from rankwise.symmetry import cayley as counting  # noqa: PLC0415 - in the extra `symmetry`

    if family == "list":
        _list(counting.families())
        return
    settings: dict[str, object] = {"max_layers": max_layers, "disk": disk}
    if memory is not None:
        settings["memory"] = _bytes(memory)
    cases = _cases(parameters or [])
    if len(cases) > 1:
        if plot or save or disk:
            raise SymmetryError("--plot, --save and --disk take one graph; give one n instead of a range.")
        _range(family, cases, engine, settings, fit)
        return
    if fit:
        raise SymmetryError(f"--fit needs a range of n, such as: rankwise cayley {family} 4..11 --fit")
    result = _searched(family, cases[0], engine, settings)
    if save:
        result.save(save)
        output().print(f"Written to {save}.", soft_wrap=True)
    if plot:
        counting.plot_growth(result, plot)
        output().print(f"Drawn in {plot}.", soft_wrap=True)


def _searched(family, case, engine, settings):
    """Search one graph with a live table, and print what was found."""
    from rankwise.symmetry import cayley as counting  # noqa: PLC0415

    graph = counting.graph(family, *case)
    table = Table(title=graph.title)
    for column in ("distance", "states", "total", "states/s", "memory"):
        table.add_column(column, justify="right")
    bar = Progress(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    known = graph.order if isinstance(graph, counting.PermutationGraph) and graph.is_group else None
    line = bar.add_task("searching", total=known)
    process, last = psutil.Process(), [time.perf_counter()]

    def report(layer: counting.Layer) -> None:
        now = time.perf_counter()
        rate = layer.size / max(now - last[0], 1e-9)
        last[0] = now
        resident = f"{process.memory_info().rss / 1e6:,.0f} MB"
        table.add_row(f"{layer.distance}", f"{layer.size:,}", f"{layer.total:,}", f"{rate:.3g}", resident)
        bar.update(line, completed=layer.total)

    with Live(Group(table, bar), console=output(), refresh_per_second=4):
        result = counting.growth(graph, engine, counting.Limits(report=report, **settings))
        bar.update(line, completed=result.total, total=result.total, description="done")
    output().print()
    _summary(result)
    return result


def _summary(result) -> None:
    said = output()
    said.print(f"Growth: {' '.join(map(str, result.layers))}", soft_wrap=True)
    if result.complete:
        said.print(f"{result.total:,} states, diameter {result.diameter}, {result.layers[-1]:,} farthest")
    else:
        said.print(f"{result.total:,} states up to distance {len(result.layers) - 1}; the search was not complete")
    if result.last_layer is not None and len(result.last_layer) <= 3:
        for state in result.last_layer:
            said.print(f"at distance {len(result.layers) - 1}: {state.tolist()}", soft_wrap=True)
    bound = f"; at most {result.memory / 1e6:,.0f} MB declared" if result.memory else ""
    said.print(f"{result.method}: {result.seconds:.3g} s{bound}", soft_wrap=True)


def _range(family: str, cases: Sequence[tuple[int, ...]], engine: str | None, settings: dict, fit: bool) -> None:
    """Search each graph of a range, a row each, and fit the diameters if asked to."""
    from rankwise.symmetry import cayley as counting  # noqa: PLC0415

    varying = [place for place in range(len(cases[0])) if len({case[place] for case in cases}) > 1]
    if len(varying) != 1:
        raise SymmetryError("One parameter may be a range, the others must be numbers.")
    table = Table(title=family)
    for column in ("n", "states", "diameter", "farthest", "seconds", "method"):
        table.add_column(column, justify="right")
    diameters: dict[int, int] = {}
    with Live(table, console=output(), refresh_per_second=4):
        for case in cases:
            found = counting.growth(counting.graph(family, *case), engine, counting.Limits(**settings))
            diameters[case[varying[0]]] = found.diameter
            row = (f"{found.total:,}", f"{found.diameter}", f"{found.layers[-1]:,}", f"{found.seconds:.3g}")
            table.add_row(f"{case[varying[0]]}", *row, found.method)
    output().print()
    if fit:
        output().print(f"diameter: {counting.fit(diameters)}", soft_wrap=True)


def _list(families) -> None:
    listing = Table(title="Generator families")
    listing.add_column("family", style="bold", no_wrap=True)
    listing.add_column("generators")
    for name, builder in families.items():
        listing.add_row(name, first_paragraph(builder))
    output().print(listing)


def _cases(parameters: Sequence[str]) -> list[tuple[int, ...]]:
    """Every choice of parameters; "4..11" stands for 4, 5, ..., 11."""
    spans = []
    for text in parameters:
        found = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", text)
        if found is None or (found[2] and int(found[2]) < int(found[1])):
            raise SymmetryError(f"A parameter is a number or a range such as 4..11, got {text!r}.")
        spans.append(range(int(found[1]), int(found[2] or found[1]) + 1))
    if prod(len(span) for span in spans) > 1000:
        raise SymmetryError("More than 1000 graphs; give a shorter range.")
    return list(product(*spans))


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B?)", text.strip().upper())
    if found is None or found[2] not in _UNITS:
        raise SymmetryError(f"--memory must be a number with KB, MB, GB or TB, such as 4GB; got {text!r}.")
    return int(float(found[1]) * _UNITS[found[2]])

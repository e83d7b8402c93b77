# SPDX-License-Identifier: Apache-2.0
"""`rankwise weyl`: the faces of a weight polytope, counted exactly, and a picture."""

import json
import math
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from rankwise.cli.mistakes import reported
from rankwise.cli.terminal import output
from rankwise.errors import SymmetryError
from rankwise.symmetry.weyl import Cartan, HighestWeight


@reported
def weyl(
    diagram: Annotated[
        str, typer.Argument(metavar="TYPE", help="E8, A2xG2, A2~, D4^(3), or a JSON file with the rows of a matrix.")
    ],
    weight: Annotated[
        str, typer.Option("--weight", help="lam_i = <alpha_i^vee, lam> for each node: 1,0,1 or 1/2,0,1.")
    ],
    integrable: Annotated[
        str | None,
        typer.Option("--integrable", help="Integrable nodes, from 0: the module is M(lam, nodes). Left out: L(lam)."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Rank 3: an HTML page, rank 2: a PNG file of the weights.")
    ] = None,
) -> None:
    """Count the faces of the hull of a highest weight module's weights.

    Nodes are numbered from 0 in Bourbaki's order; an affine diagram's new node is 0.
    """
    cartan = _cartan(diagram)
    lam = [_number(part) for part in weight.split(",")]
    nodes = None if integrable is None else [_node(part) for part in integrable.split(",") if part.strip()]
    module = HighestWeight(cartan, lam, nodes, parabolic_verma=nodes is not None)
    draw = None if plot is None else _painter(module, plot)
    start = time.perf_counter()
    counts = module.f_vector()
    seconds = time.perf_counter() - start
    output().print(_title(module), soft_wrap=True)
    output().print(_table(module, counts))
    output().print(f"{_euler(module, counts)}\nCounted in {1000 * seconds:.2f} ms.", soft_wrap=True)
    if draw is not None and plot is not None:
        draw(module, plot)
        output().print(f"{plot}: the picture.", soft_wrap=True)


def _title(module: HighestWeight) -> str:
    lam, nodes = ", ".join(map(str, module.lam)), ", ".join(map(str, module.integrable or ())) or "none"
    order = module.cartan.order()
    group = "an infinite Weyl group" if order == math.inf else f"a Weyl group of order {order:,}"
    return f"{module.cartan.title} with {group}, highest weight ({lam}), integrable nodes: {nodes}"


def _table(module: HighestWeight, counts: tuple[int | float, ...]) -> Table:
    table = Table()
    for head in ("dimension", "faces", "orbits"):
        table.add_column(head, justify="right", no_wrap=True)
    orbits = [len(face.nodes) for face in module.standard_faces()]
    for dimension, count in enumerate(counts):
        table.add_row(str(dimension), _written(count), str(orbits.count(dimension)))
    return table


def _euler(module: HighestWeight, counts: tuple[int | float, ...]) -> str:
    if math.inf in counts:
        return "Euler's relation: does not apply to infinitely many faces."
    total = sum((-1) ** dimension * int(count) for dimension, count in enumerate(counts))
    expected, kind = (1, "a bounded") if module.is_bounded else (0, "an unbounded")
    verdict = "holds" if total == expected else "IS BROKEN"
    return f"Euler's relation {verdict}: the alternating sum is {total}, for {kind} hull it is {expected}."


def _written(count: int | float) -> str:
    return "infinite" if count == math.inf else f"{count:,}"


def _painter(module: HighestWeight, path: Path) -> Callable[[HighestWeight, Path], None]:
    """What draws the module, once it is certain that it can be drawn under that name."""
    rank = module.cartan.rank
    suffix = {2: ".png", 3: ".html"}.get(rank)
    if suffix is None:
        raise SymmetryError(f"--plot draws rank 3 (.html) and rank 2 (.png); {module.cartan.title} has rank {rank}.")
    if path.suffix.lower() != suffix:
        raise SymmetryError(f"--plot of rank {rank} writes a {suffix} file, got {str(path)!r}; change its ending.")
    if not path.parent.is_dir():
        raise SymmetryError(f"--plot: there is no folder {str(path.parent)!r}; make it first.")
    if rank == 2:
        from rankwise.symmetry.weyl.diagram import draw_weights  # noqa: PLC0415 - in the extra `tune`

        return draw_weights
    from rankwise.symmetry.weyl.plot import draw_polytope  # noqa: PLC0415 - in the extra `report`

    return draw_polytope


def _cartan(name: str) -> Cartan:
    if not name.endswith(".json"):
        return Cartan.of(*name.split("x"))
    try:
        rows = json.loads(Path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SymmetryError(f"{name} is no JSON file with the rows of a matrix: {error}.") from None
    return Cartan(rows)


def _number(text: str) -> Fraction:
    try:
        return Fraction(text.strip())
    except (ValueError, ZeroDivisionError):
        raise SymmetryError(f"--weight: {text!r} is no integer or fraction; write numbers such as 1,0,1/2.") from None


def _node(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise SymmetryError(f"--integrable: {text!r} is no node; write integers such as 0,2.") from None

# SPDX-License-Identifier: Apache-2.0
"""`rankwise methods`: what there is, what it does and what it costs."""

import itertools
import re
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text
from torch import nn

import rankwise
from rankwise.cli.docs import first_paragraph
from rankwise.cli.mistakes import reported
from rankwise.cli.terminal import output
from rankwise.core.errors import MethodError, TargetError
from rankwise.core.method import Method
from rankwise.recipes.errors import RecipeError
from rankwise.testing.grid import FEATURES, reason
from rankwise.testing.kinds import KINDS


@reported
def methods(
    layer: Annotated[
        str, typer.Option("--layer", metavar="OUTxIN", help="Shape of the layer to count parameters for.")
    ] = "576x1536",
    table: Annotated[bool, typer.Option("--table", help="Print the feature table that the tests fill in.")] = False,
) -> None:
    """List the methods with their formula and, on their defaults, the trainable parameters of one layer."""
    if table:
        output().print(contract_table())
        return
    shape = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", layer)
    if shape is None:
        raise RecipeError(f"--layer must be OUTxIN, two positive integers such as 576x1536, got {layer!r}.")
    out, into = int(shape[1]), int(shape[2])
    listing = Table(title=f"Trainable parameters of one linear layer {out}x{into}, with each method's defaults")
    listing.caption = "- means that the defaults do not fit a model of this one layer"
    listing.add_column("method", style="bold", no_wrap=True)
    listing.add_column("what it does")
    listing.add_column("parameters", justify="right", no_wrap=True)
    for name, kind in rankwise.methods().items():
        listing.add_row(name, Text(first_paragraph(kind)), parameters(kind, out, into))
    output().print(listing)


def contract_table() -> Table:
    """For each method, how many pairs of a feature and a kind of layer work, and which are refused."""
    listing = Table(title=f"{len(FEATURES)} features on {len(KINDS)} kinds of layer; the tests check every pair")
    listing.add_column("method", style="bold", no_wrap=True)
    listing.add_column("work", justify="right")
    listing.add_column("refused with a reason")
    for name in rankwise.methods():
        empty: dict[str, list[str]] = {}
        for feature, kind in itertools.product(FEATURES, KINDS):
            if reason(name, kind.name, feature) is not None:
                empty.setdefault(feature, []).append(kind.name)
        works = len(FEATURES) * len(KINDS) - sum(map(len, empty.values()))
        listing.add_row(
            name, str(works), "\n".join(f"{feature}: {', '.join(kinds)}" for feature, kinds in empty.items())
        )
    return listing


def parameters(kind: type[Method], out: int, into: int) -> str:
    """The trainable parameters of a method's defaults on a linear layer; "-" if it does not fit one."""
    model = nn.Sequential(nn.Linear(into, out))
    try:
        return f"{rankwise.adapt(model, kind(), targets=['0']).summary().trainable:,}"
    except (MethodError, TargetError):
        return "-"

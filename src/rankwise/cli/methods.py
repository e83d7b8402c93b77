# SPDX-License-Identifier: Apache-2.0
"""`rankwise methods`: what there is, what it does and what it costs."""

import re
from typing import Annotated

import torch
import typer
from rich.table import Table
from rich.text import Text
from torch import nn

import rankwise
from rankwise.cli.docs import first_paragraph
from rankwise.cli.mistakes import reported
from rankwise.cli.terminal import output
from rankwise.core.method import Method
from rankwise.errors import MethodError, TargetError
from rankwise.recipes.errors import RecipeError
from rankwise.recipes.recipe import with_total_steps
from rankwise.testing.table import contract_table

_STEPS = 10_000  # of training, for methods that must know; no count depends on it


@reported
def methods(
    layer: Annotated[
        str, typer.Option("--layer", metavar="OUTxIN", help="Shape of the layer to count parameters for.")
    ] = "576x1536",
    table: Annotated[bool, typer.Option("--table", help="Print the feature table that the tests fill in.")] = False,
) -> None:
    """List the methods with their formula and, on their defaults, the trainable parameters of one layer."""
    if table:
        output().print(Text(contract_table()), soft_wrap=True)
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


def parameters(kind: type[Method], out: int, into: int) -> str:
    """The trainable parameters of a method's defaults on a linear layer; "-" if it does not fit one."""
    model, method = nn.Sequential(nn.Linear(into, out)), with_total_steps(kind(), _STEPS)
    inputs = [torch.eye(into)] if kind.calibrated else None
    try:
        return f"{rankwise.adapt(model, method, targets=['0'], calibration=inputs).summary().trainable:,}"
    except (MethodError, TargetError):
        return "-"

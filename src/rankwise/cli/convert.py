# SPDX-License-Identifier: Apache-2.0
"""`rankwise convert`: any adapter as the closest LoRA, for software that knows only LoRA."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from rankwise.cli.mistakes import reported
from rankwise.cli.terminal import output, status
from rankwise.recipes.quiet import quiet


@reported
def convert(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A saved adapter.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder to make.", show_default=False)],
    rank: Annotated[int, typer.Option("--rank", help="Rank of the LoRA; lowered where a layer is smaller.")] = 16,
    peft: Annotated[bool, typer.Option("--peft", help="Write the layout of Hugging Face PEFT.")] = False,
    model: Annotated[
        str | None, typer.Option("--model", help="The base model, if DIR has no recipe.yaml that names it.")
    ] = None,
) -> None:
    """Write the closest LoRA of a rank and say how close it is, for each weight."""
    quiet()
    from rankwise.recipes.converted import convert as run  # noqa: PLC0415 - in the extra `tune`

    with status().status(f"converting {folder}"):
        errors = run(folder, out, model, rank, peft=peft)
    table = Table("weight", "relative error")
    for name, error in errors.items():
        table.add_row(name, f"{error:.2e}")
    output().print(table)
    worst = max(errors.values())
    output().print(
        f"{out}: LoRA of rank {rank} for {len(errors)} weights, relative error at most {worst:.2e}.", soft_wrap=True
    )

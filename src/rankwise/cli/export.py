# SPDX-License-Identifier: Apache-2.0
"""`rankwise export`: the tuned model as one that transformers loads without this library."""

from pathlib import Path
from typing import Annotated

import typer

from rankwise.cli.mistakes import reported
from rankwise.cli.terminal import output, status
from rankwise.core.merge import MergeReport
from rankwise.errors import listed
from rankwise.recipes.quiet import quiet


@reported
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `rankwise tune` wrote.", show_default=False)],
    merged: Annotated[Path, typer.Option("--merged", help="Folder to make for the merged model.", show_default=False)],
    dtype: Annotated[str, typer.Option("--dtype", help="bfloat16, float16 or float32.")] = "bfloat16",
    model: Annotated[
        str | None, typer.Option("--model", help="The base model, if DIR has no recipe.yaml that names it.")
    ] = None,
) -> None:
    """Write the model with its adapter merged: safetensors, tokenizer and config.

    Says what share of the update the rounding to 16 bits ate. The base is rounded to the same dtype first.
    """
    quiet()
    from rankwise.recipes.merged import export as run  # noqa: PLC0415 - in the extra `tune`

    with status().status(f"merging {folder}"):
        report = run(folder, merged, model, dtype)
    tell(report, merged, dtype)


def tell(report: MergeReport, out: Path, dtype: str) -> None:
    """Print what became of a merge."""
    mean = sum(report.lost.values()) / max(1, len(report.lost))
    console = output()
    console.print(f"{out}: {len(report.lost)} weights with the update merged, in {dtype}.", soft_wrap=True)
    console.print(
        f"Of the update {1 - mean:.1%} survived the rounding on average, {1 - report.worst:.1%} at the worst weight.",
        soft_wrap=True,
    )
    if report.damaged:
        console.print(
            f"{len(report.damaged)} weights lost more than {report.tolerance:.0%}: {listed(report.damaged)}. "
            "Use --dtype float32 to keep all of the update.",
            soft_wrap=True,
        )

# SPDX-License-Identifier: Apache-2.0
"""`rankwise merge`: the sum of one or several adapters in the weights of a model."""

from pathlib import Path
from typing import Annotated

import typer

from rankwise.cli.export import tell
from rankwise.cli.mistakes import reported
from rankwise.cli.terminal import status
from rankwise.recipes.errors import RecipeError
from rankwise.recipes.quiet import quiet


@reported
def merge(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The base, named as for tune.", show_default=False)],
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Saved adapters.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder to make for the merged model.", show_default=False)],
    scale: Annotated[
        list[float] | None,
        typer.Option("--scale", help="Weight of an adapter in the sum; once for each DIR, in their order. Default: 1"),
    ] = None,
    dtype: Annotated[str, typer.Option("--dtype", help="bfloat16, float16 or float32.")] = "bfloat16",
) -> None:
    """Write MODEL with the weighted sum of the adapters merged into it."""
    if scale and len(scale) != len(folders):
        raise RecipeError(
            f"--scale was given {len(scale)} times for {len(folders)} adapters; give it once for each, or never."
        )
    quiet()
    from rankwise.recipes.merged import Part, merge_into  # noqa: PLC0415 - in the extra `tune`

    parts = [Part(folder, weight) for folder, weight in zip(folders, scale or [1.0] * len(folders), strict=True)]
    with status().status(f"merging {len(parts)} adapters into {model}"):
        report = merge_into(model, parts, out, dtype)
    tell(report, out, dtype)

# SPDX-License-Identifier: Apache-2.0
"""`rankwise bench`: every method on equal terms, and a leaderboard."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rankwise.cli.mistakes import reported
from rankwise.cli.terminal import output, status
from rankwise.recipes.quiet import quiet


@reported
def bench(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the comparison; made, or gone on with.")],
    size: Annotated[str, typer.Option("--size", help="cpu: about an hour on two cores; full: made for a GPU.")] = "cpu",
    tasks: Annotated[str, typer.Option("--tasks", help="Names of tasks with commas between them; all if empty.")] = "",
    methods: Annotated[str, typer.Option("--methods", help="Names of methods, likewise; all if empty.")] = "",
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder with fashion-mnist/, gsm8k/ and tinyshakespeare/.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", help="Processes at a time.")] = 2,
) -> None:
    """Train every method at equal parameter budgets and write a leaderboard.

    Each method fills a budget of parameters, takes the learning rate of one small grid that is best on a validation
    split, and is judged on a test split with several seeds. A comparison that was stopped goes on where it was when the
    same command is given again.
    """
    quiet()
    from rankwise.bench.comparison import Comparison, compare  # noqa: PLC0415 - in the extra `tune`

    asked = Comparison(out, size, _names(tasks), _names(methods), data, workers)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=status(),
    )
    with bar:
        line = bar.add_task("", total=None)
        for news in compare(asked):
            if isinstance(news, str):
                bar.console.print(news, soft_wrap=True, highlight=False, markup=False)
            else:
                bar.update(line, description=" ".join(map(str, news.key)), completed=news.done, total=news.most)
    output().print(f"{out / 'leaderboard.html'}: the leaderboard; {out / 'results.jsonl'}: every run.", soft_wrap=True)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())

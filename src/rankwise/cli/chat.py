# SPDX-License-Identifier: Apache-2.0
"""`rankwise chat`: talk to the result of a run."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rankwise.cli.mistakes import reported
from rankwise.cli.terminal import output, status
from rankwise.recipes.errors import RecipeError
from rankwise.recipes.quiet import quiet

if TYPE_CHECKING:
    from rankwise.recipes.chat import Conversation
    from rankwise.recipes.tuned import Tuned


@reported
def chat(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="What `rankwise tune` or `export` wrote.", show_default=False)
    ],
    base: Annotated[bool, typer.Option("--base", help="Show what the base model says, too.")] = False,
    length: Annotated[int, typer.Option("--length", min=1, help="Longest answer, in tokens.")] = 256,
    model: Annotated[
        str | None, typer.Option("--model", help="The base model, if DIR has no recipe.yaml that names it.")
    ] = None,
) -> None:
    """Talk to a tuned model; a prompt that is piped in gets one answer on standard output."""
    piped = None if sys.stdin.isatty() else sys.stdin.read().strip()
    if piped == "":
        raise RecipeError("standard input is empty; pipe a prompt in, or start chat in a terminal.")
    quiet()
    from rankwise.recipes.chat import Conversation  # noqa: PLC0415 - in the extra `tune`
    from rankwise.recipes.models import chosen_dtype  # noqa: PLC0415
    from rankwise.recipes.tuned import open_tuned  # noqa: PLC0415

    with status().status(f"loading {folder}"):
        tuned = open_tuned(folder, model, chosen_dtype("auto"))
    if base and tuned.adaptation is None:
        raise RecipeError(f"{folder} is a merged model, so there is no base to show beside it; leave --base out.")
    voices = {"tuned": Conversation(tuned.model, tuned.tokenizer)}
    if base:
        voices = {"base": Conversation(tuned.model, tuned.tokenizer)} | voices
    if piped is not None:
        _answer(tuned, voices, piped, length)
        return
    status().print("Ctrl-D or an empty line ends the conversation.", style="dim")
    while text := _asked():
        _answer(tuned, voices, text, length)


def _answer(tuned: "Tuned", voices: "dict[str, Conversation]", text: str, length: int) -> None:
    """Let each voice answer, its name in front if there are several."""
    for name, conversation in voices.items():
        if len(voices) > 1:
            output().print(f"[bold]{name}:[/bold] ", end="")
        base = name == "base" and tuned.adaptation is not None
        with tuned.adaptation.disabled() if base else nullcontext():  # type: ignore[union-attr]
            conversation.reply(text, length, _show)
        _show("\n")


def _show(piece: str) -> None:
    sys.stdout.write(piece)
    sys.stdout.flush()


def _asked() -> str:
    try:
        return input("> ").strip()
    except EOFError:
        return ""

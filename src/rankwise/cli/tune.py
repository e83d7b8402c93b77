# SPDX-License-Identifier: Apache-2.0
"""`rankwise tune`: fine-tune a language model.

The options are the fields of the recipe and of the chosen method, so a method's help is that of its own dataclass.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields
from inspect import Parameter, Signature
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from rich.markup import escape

from rankwise.cli.docs import attribute_texts, first_paragraph
from rankwise.cli.mistakes import reported
from rankwise.cli.terminal import output
from rankwise.core.method import Method
from rankwise.recipes.errors import RecipeError
from rankwise.recipes.quiet import quiet
from rankwise.recipes.recipe import TuneRecipe, read_recipe, settings
from rankwise.recipes.values import alternatives

_POSITIONAL = ("model", "data")
_RUN_PANEL = "Run"
_RUN = ("recipe", "out", "resume", "dry_run")


def peeked_method(arguments: Sequence[str]) -> str:
    """The method that a command line names, itself or by its recipe file; lora if it names none.

    Raises:
        RecipeError: if the recipe file cannot be read.
    """
    named = _option(arguments, "--method")
    if named is None and (recipe := _option(arguments, "--recipe")) is not None:
        named = read_recipe(Path(recipe)).get("method")
    return "lora" if named is None else str(named)


def tune_command(method: str) -> Callable[..., None]:
    """The command for one method, with its fields as options.

    Raises:
        MethodError: if there is no such method.
    """
    recipe = TuneRecipe().updated({"method": method})

    def run(**given: Any) -> None:
        _run(method, given)

    parameters = [*_run_parameters(method), *_recipe_parameters(recipe), *_method_parameters(recipe.method)]
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__doc__ = f"""Fine-tune MODEL on DATA with {type(recipe.method).__name__}.

    {escape(first_paragraph(type(recipe.method)))}

    With no arguments at all, SmolLM2-135M learns to write docstrings, in a few minutes on two CPU cores.

    Each method has options of its own: `rankwise tune --method NAME --help`. `rankwise methods` lists the names.
    """
    return reported(run)


def _run(method: str, given: dict[str, Any]) -> None:
    """Split what was given into the run's own options and the recipe's, and go."""
    own = {name: given.pop(name) for name in _RUN}
    values = {name: value for name, value in given.items() if value is not None}
    if own["resume"] is not None and (values or own["out"] or own["recipe"] or own["dry_run"]):
        raise RecipeError(
            "--resume goes on with a run exactly as it began and takes no other option; begin a new run to change one."
        )
    recipe = TuneRecipe().updated(
        ({} if own["recipe"] is None else read_recipe(own["recipe"])) | values | {"method": method}
    )
    quiet()
    from rankwise.recipes.folder import free_folder  # noqa: PLC0415 - in the extra `tune`
    from rankwise.recipes.tune import dry_run, resume, tune  # noqa: PLC0415

    if own["resume"] is not None:
        resume(own["resume"], output())
    elif own["dry_run"]:
        dry_run(recipe, output())
    else:
        tune(recipe, own["out"] or free_folder(), output())


def _run_parameters(method: str) -> list[Parameter]:
    arguments = [
        _parameter(name, str, typer.Argument(metavar=name.upper(), help=_recipe_help(name), show_default=False))
        for name in _POSITIONAL
    ]
    texts = {
        "out": "Folder to make. Default: the first free of runs/tune-1, runs/tune-2, ...",
        "recipe": "YAML file of settings, as a run writes to recipe.yaml; options override it.",
        "resume": "Go on with the run in this folder after it was stopped or killed; takes no other option.",
    }
    paths = [
        _parameter(name, Path, typer.Option(f"--{name}", help=text, rich_help_panel=_RUN_PANEL))
        for name, text in texts.items()
    ]
    dry = typer.Option("--dry-run", help="Say what would be trained and what it needs.", rich_help_panel=_RUN_PANEL)
    what = f"What to train, see `rankwise methods`. Default: {method}"
    named = _parameter("method", str, typer.Option("--method", help=what, rich_help_panel=_RUN_PANEL))
    return [*arguments, *paths, _parameter("dry_run", bool, dry), named]


def _recipe_parameters(recipe: TuneRecipe) -> list[Parameter]:
    hints = {name: hint for name, hint in settings().items() if name not in _POSITIONAL}
    return [_setting(name, hint, getattr(recipe, name), _recipe_help(name), "Recipe") for name, hint in hints.items()]


def _method_parameters(method: Method) -> list[Parameter]:
    kind = type(method)
    names = [spec.name for spec in fields(kind)]
    clash = {*_RUN, "method", *settings()} & set(names)
    assert not clash, f"{kind.__name__} has fields named like settings of a recipe: {sorted(clash)}"
    hints, texts = get_type_hints(kind), attribute_texts(kind)
    return [_setting(name, hints[name], getattr(method, name), texts.get(name, ""), kind.__name__) for name in names]


def _setting(name: str, hint: Any, default: Any, text: str, panel: str) -> Parameter:
    """An option for a field; its text is read as the field's type later, so one message serves YAML and options."""
    flag = "--" + name.replace("_", "-")
    kinds = alternatives(hint)
    shown = f"{text.rstrip('.')}. Default: {_plain(default)}".lstrip(". ")
    if kinds == [bool]:
        option = typer.Option(f"{flag}/--no-{name.replace('_', '-')}", help=escape(shown), rich_help_panel=panel)
        return _parameter(name, bool, option)
    metavar = "|".join(dict.fromkeys(_metavar(kind) for kind in kinds if kind is not NoneType))
    return _parameter(name, str, typer.Option(flag, help=escape(shown), metavar=metavar, rich_help_panel=panel))


def _metavar(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "|".join(map(str, get_args(kind)))
    if get_origin(kind) in (tuple, list):
        return "LIST"
    return {int: "INTEGER", float: "NUMBER", str: "TEXT", bool: "BOOL"}[kind]


def _parameter(name: str, kind: type, info: Any) -> Parameter:
    """A parameter of the command that is None, or false for a plain flag, if it is not given."""
    if name == "dry_run":
        return Parameter(name, Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[kind, info])
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, info])


def _recipe_help(name: str) -> str:
    return next(spec.metadata["help"] for spec in fields(TuneRecipe) if spec.name == name)


def _option(arguments: Sequence[str], name: str) -> str | None:
    """The value of an option as it stands in the arguments, the last one if it is repeated."""
    found = None
    for index, argument in enumerate(arguments):
        if argument.startswith(f"{name}="):
            found = argument.removeprefix(f"{name}=")
        elif argument == name and index + 1 < len(arguments):
            found = arguments[index + 1]
    return found


def _plain(value: Any) -> str:
    """A default as one would type it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)

# SPDX-License-Identifier: Apache-2.0
"""Everything that decides a run of `rankwise tune`, as one frozen dataclass and as a YAML file.

The file is flat: the recipe's own fields, `method`, and the fields of that method, all under the names that the command
line uses. The output folder is no part of it, so a recipe can be copied and run again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from rankwise.adapters.lora import LoRA
from rankwise.core.method import Method, method_class
from rankwise.core.select import KEYWORDS
from rankwise.errors import nearest
from rankwise.recipes.errors import RecipeError
from rankwise.recipes.values import typed

SMOLLM2, STDLIB = "smollm2", "stdlib"  # the model and the data that need no download
_SUFFIXES = re.compile(r"[\w.]+(\s*,\s*[\w.]+)*")


def _setting(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, kw_only=True)
class TuneRecipe:
    """The settings of one fine-tuning run; `metadata["help"]` of each field says what it means."""

    model: str = _setting(
        SMOLLM2,
        "A Hugging Face id, a local folder, a GGUF file, or smollm2, the default: a file in a Python package.",
    )
    data: str = _setting(
        STDLIB,
        "JSON lines, CSV, Parquet or plain text, a Hugging Face dataset id, or stdlib, the default: signatures and "
        "docstrings of this Python's standard library.",
    )
    method: Method = field(default_factory=lambda: LoRA(rank=16, alpha=32))
    targets: str | tuple[str, ...] = _setting(
        "all-linear", "all-linear, attention, mlp, name suffixes joined by commas, or one regular expression."
    )
    epochs: int = _setting(1, "How often to go through the training examples.")
    steps: int | None = _setting(None, "Optimizer steps; if given, it takes the place of --epochs.")
    batch_size: int = _setting(8, "Examples in one forward pass.")
    accumulate: int = _setting(1, "Forward passes for one optimizer step.")
    learning_rate: float = _setting(1e-3, "Peak learning rate of AdamW; warms up, then follows half a cosine to zero.")
    warmup: float = _setting(0.1, "Share of the steps over which the learning rate rises.")
    max_length: int = _setting(256, "Tokens of an example; longer dialogs are cut, longer texts split.")
    held_out: int = _setting(48, "Examples kept out of training to measure perplexity; at most a tenth of the data.")
    save_every: int = _setting(20, "Optimizer steps between two checkpoints.")
    seed: int = _setting(0, "The source of every random number of the run.")
    dtype: str = _setting("auto", "float32, bfloat16, float16, or auto: float32 on a CPU, bfloat16 on a GPU.")

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "held_out", "save_every"):
            self._at_least(name, 1)
        if self.steps is not None:
            self._at_least("steps", 1)
        self._at_least("max_length", 8)
        self._at_least("seed", 0)
        if not 0 <= self.warmup < 1:
            raise RecipeError(f"warmup must be in [0, 1), a share of the steps, got {self.warmup}.")
        if not 0 < self.learning_rate < float("inf"):
            raise RecipeError(f"learning_rate must be above 0 and finite, got {self.learning_rate}.")
        if self.dtype not in (allowed := ("auto", "bfloat16", "float16", "float32")):
            raise RecipeError(f"dtype must be one of {', '.join(allowed)}, got {self.dtype!r}.")

    def _at_least(self, name: str, bound: int) -> None:
        if getattr(self, name) < bound:
            raise RecipeError(f"{name} must be at least {bound}, got {getattr(self, name)}.")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "TuneRecipe":
        """Build a recipe from flat plain data: its own fields, `method`, and the method's fields.

        Raises:
            RecipeError: if a name is unknown or a value does not fit.
            MethodError: if the method is unknown or refuses its fields.
        """
        return cls().updated(values)

    def updated(self, values: Mapping[str, Any]) -> "TuneRecipe":
        """The recipe with some values changed; another `method` begins with its own defaults.

        Raises:
            RecipeError: if a name is unknown or a value does not fit.
            MethodError: if the method is unknown or refuses its fields.
        """
        kind = method_class(values["method"]) if "method" in values else type(self.method)
        own, method_hints = settings(), get_type_hints(kind)
        methods_own = {spec.name for spec in fields(kind)}
        chosen: dict[str, Any] = {}
        for_method: dict[str, Any] = {}
        for name, value in values.items():
            if name == "method":
                continue
            if name not in own and name not in methods_own:
                known = own.keys() | methods_own | {"method"}
                raise RecipeError(f"there is no setting {name!r} for tune with {kind.__name__}. {nearest(name, known)}")
            try:
                if name in own:
                    chosen[name] = typed(value, own[name])
                else:
                    for_method[name] = typed(value, method_hints[name])
            except ValueError as error:
                raise RecipeError(f"{name} {error}.") from None
        if "targets" in chosen:
            chosen["targets"] = _as_targets(chosen["targets"])
        keep = {} if kind is not type(self.method) else {n: getattr(self.method, n) for n in methods_own}
        return replace(self, method=kind.from_fields(keep | for_method), **chosen)

    def to_mapping(self) -> dict[str, Any]:
        """The recipe as flat plain data, what `from_mapping` reads."""
        own = {name: getattr(self, name) for name in settings()}
        values = {"model": own.pop("model"), "data": own.pop("data"), **self.method.to_dict(), **own}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def settings() -> dict[str, Any]:
    """The recipe's own fields, without the method, and their types."""
    hints = get_type_hints(TuneRecipe)
    return {spec.name: hints[spec.name] for spec in fields(TuneRecipe) if spec.name != "method"}


def read_recipe(path: Path) -> dict[str, Any]:
    """The values of a YAML recipe file, not yet checked.

    Raises:
        RecipeError: if the file cannot be read or is not one mapping of names to values.
    """
    import yaml  # noqa: PLC0415 - in the extra `tune`

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"the recipe {path} is not UTF-8 (byte {error.start}); save it as UTF-8.") from error
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f", line {place.line + 1}" if place else ""
        raise RecipeError(f"the recipe {path}{where} is not YAML: {getattr(error, 'problem', error)}.") from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise RecipeError(f"the recipe {path} must be one list of `name: value` lines, as tune writes to recipe.yaml.")
    return values


def recipe_text(recipe: TuneRecipe) -> str:
    """The recipe as the text of a YAML file."""
    import yaml  # noqa: PLC0415 - in the extra `tune`

    return yaml.safe_dump(recipe.to_mapping(), sort_keys=False)


def with_whole_paths(recipe: TuneRecipe) -> TuneRecipe:
    """The recipe with local files and folders named from the root, so that it works from any folder."""
    names = {name: Path(getattr(recipe, name)).expanduser() for name in ("model", "data")}
    keywords = {"model": SMOLLM2, "data": STDLIB}
    found = {name: path for name, path in names.items() if str(path) != keywords[name] and path.exists()}
    return replace(recipe, **{name: str(path.resolve()) for name, path in found.items()})


def with_total_steps(method: Method, steps: int) -> Method:
    """The method with its field `total_steps`, if it has one that is not set, filled in."""
    if "total_steps" in method.to_dict() and method.to_dict()["total_steps"] is None:
        return replace(method, **{"total_steps": steps})
    return method


def _as_targets(value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """Plain names, also a single one, are suffixes; any other text is a keyword or a regular expression."""
    if isinstance(value, str) and value not in KEYWORDS and _SUFFIXES.fullmatch(value):
        return tuple(part.strip() for part in value.split(","))
    return value

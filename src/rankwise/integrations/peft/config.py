# SPDX-License-Identifier: Apache-2.0
"""One PEFT config class for each method, made from the fields of the method's dataclass.

PEFT's own fields keep PEFT's names and meaning; a method's field of the same name gets the prefix `method_` (LoRA's
`bias` becomes `method_bias`). A per-example input of the method gets a field `default_<input>`, its value where none
is given.
"""

from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from typing import Any, ClassVar

from peft import PeftConfig, PeftType

from rankwise.core.method import Method
from rankwise.errors import MethodError, nearest
from rankwise.integrations.peft.matching import pattern


@dataclass
class RankwiseConfig(PeftConfig):
    """What every method's config has beside the method's own fields.

    Attributes:
        target_modules: names of layers, ends of names, one regular expression, or "all-linear". An attention or
            recurrent
            module, and a module with parameters of its own, is adapted in all its matrices.
        exclude_modules: names, ends of names or a regular expression of what to leave out.
        layers_to_transform: numbers of the layers to adapt; None for all.
        layers_pattern: the name before a layer's number.
        modules_to_save: modules to train and save as they are.
        bias: which biases of the base to train: "none", "all" or "<type>_only".
        init_weights: False starts away from the base function, with every trainable tensor moved at random.
        rank_pattern: ranks by patterns of names.
        seed: the source of every random number.
        scheduled: False trains a method that changes over training without its schedule; True needs `attach`.
    """

    method_class: ClassVar[type[Method]]
    renamed: ClassVar[dict[str, str]]

    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None
    modules_to_save: list[str] | None = None
    bias: str = "none"
    init_weights: bool = True
    rank_pattern: dict | None = field(default_factory=dict)
    seed: int = 0
    scheduled: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        name = peft_name(self.method_class)
        self.peft_type = PeftType[name.upper()]
        for key in ("target_modules", "exclude_modules"):
            value = getattr(self, key)
            setattr(self, key, set(value) if isinstance(value, list) else value)
        allowed = ("none", "all", f"{name}_only")
        if self.bias not in allowed:
            raise MethodError(f"bias must be one of {', '.join(allowed)}, got {self.bias!r}.")
        if isinstance(self.target_modules, str) and (self.layers_to_transform is not None or self.layers_pattern):
            raise MethodError(
                "layers_to_transform and layers_pattern choose among listed target_modules, not a pattern."
            )
        if self.layers_pattern and self.layers_to_transform is None:
            raise MethodError("layers_pattern means nothing without layers_to_transform.")
        self.method()

    def method(self) -> Method:
        """The method with this config's values.

        Raises:
            MethodError: if a value is not allowed.
        """
        values = {own: getattr(self, key) for own, key in self.renamed.items()}
        return self.method_class.from_fields(values)

    def inputs(self) -> dict[str, float]:
        """The values of per-example inputs where none is given, by name."""
        values = {name: getattr(self, f"default_{name}") for name in self.method_class.inputs}
        return {name: value for name, value in values.items() if value is not None}

    def ranks(self, names: list[str]) -> dict[str, int]:
        """The ranks that `rank_pattern` gives to weights of these names.

        Raises:
            MethodError: if a pattern matches none of them.
        """
        given = self.rank_pattern or {}
        for key in given:
            if not any(pattern({key: True}, name, False) for name in names):
                raise MethodError(
                    f"the entry {key!r} of rank_pattern matches none of the targets. {nearest(key, names)}"
                )
        found = {name: pattern(given, name, 0) for name in names}
        return {name: rank for name, rank in found.items() if rank}


def peft_name(method: type[Method]) -> str:
    """The name of a method among PEFT's."""
    return f"rw{method.__name__.lower()}"


def config_class(method: type[Method]) -> type[RankwiseConfig]:
    """The config class of a method."""
    taken = {spec.name for spec in fields(RankwiseConfig)} | {"method", "inputs", "ranks", "renamed"}
    renamed = {spec.name: f"method_{spec.name}" if spec.name in taken else spec.name for spec in fields(method)}
    own: list[tuple[str, Any, Any]] = []
    for spec in fields(method):
        default = field(default=spec.default) if spec.default is not MISSING else _from_factory(spec)
        own.append((renamed[spec.name], spec.type, default))
    own += [(f"default_{name}", float | None, field(default=None)) for name in method.inputs]
    made = make_dataclass(
        f"{method.__name__}PeftConfig",
        own,
        bases=(RankwiseConfig,),
        namespace={"__doc__": method.__doc__, "__module__": __name__},
    )
    made.method_class, made.renamed = method, renamed
    globals()[made.__name__] = made  # found by pickle
    return made


def _from_factory(spec: Any) -> Any:
    if spec.default_factory is MISSING:
        return field(default=None)  # no default: `method()` names what is missing
    return field(default_factory=spec.default_factory)

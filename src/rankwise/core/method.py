# SPDX-License-Identifier: Apache-2.0
"""A method's hyperparameters, and what the method builds and does with them.

A method is a frozen dataclass in one file of `rankwise.adapters`, registered under its lower-case class name. It goes
to and from plain data with a closed schema: an unknown field or a value of the wrong type is an error.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType, NoneType, UnionType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from torch import Tensor, nn

from rankwise.core.targets.base import Target
from rankwise.errors import MethodError, nearest

if TYPE_CHECKING:
    from rankwise.core.adapter import Adapter
    from rankwise.core.calibration import Calibrated, Calibration
    from rankwise.core.training import Training

_REGISTRY: dict[str, type["Method"]] = {}
M = TypeVar("M", bound=type["Method"])


@dataclass(frozen=True)
class Method:
    """Base class of all methods.

    Class attributes:
        inputs: names of the per-example values that the method reads from the context.
        input_values: three values that those may take with `tiny`, for the contract tests.
        scheduled: whether the method changes over training, so that `attach(optimizer)` is required.
        calibrated: whether the method starts from data, so that `adapt` needs `calibration=`.
        tiny: field values that make the method fit layers of 3 to 8 features and a run of 6 steps, for the contract
            tests; ranks are lowered to 2 without being named here.
    """

    inputs: ClassVar[tuple[str, ...]] = ()
    input_values: ClassVar[tuple[float, float, float]] = (0.2, 0.55, 0.9)
    scheduled: ClassVar[bool] = False
    calibrated: ClassVar[bool] = False
    tiny: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for spec in fields(self):
            _check_type(type(self).__name__, spec.name, getattr(self, spec.name), hints[spec.name])
        self.validate()

    def validate(self) -> None:
        """Check the values of the fields; `at_least`, `above` and `probability` write the messages.

        Raises:
            MethodError: if a field is outside its range.
        """

    def adapter(self, target: Target) -> "Adapter":
        """Build the adapter of one target; a method that shares state is called with it as second argument."""
        raise MethodError(f"{type(self).__name__} defines no adapter(target).")

    def shared(self, targets: list[Target]) -> nn.Module | None:
        """Build what the adapters of all targets share, None if nothing; never a registered part of an adapter."""
        return None

    def at_rank(self, rank: int) -> "Method":
        """The method of a weight that has a rank of its own."""
        return replace(self, **{"rank": rank})

    def calibrate(self, targets: list[Target], methods: "Sequence[Method]", calibration: "Calibration") -> "Calibrated":
        """Choose ranks and start values from data, before any adapter is built; only with `calibrated`.

        Args:
            targets: the targets.
            methods: this method at the rank that each target was given.
            calibration: runs the batches.
        """
        raise MethodError(f"{type(self).__name__} defines no calibrate(targets, methods, calibration).")

    def penalty(self, training: "Training") -> Tensor | None:
        """The regularizer to add to the loss, None if the method has none."""
        return None

    def before_step(self, training: "Training") -> None:
        """What happens before the optimizer's step, gradients at hand; runs without autograd."""

    def after_step(self, training: "Training") -> None:
        """What happens after the optimizer's step; runs without autograd."""

    def at_least(self, field: str, bound: float) -> None:
        """Refuse a field below `bound`."""
        value = getattr(self, field)
        if not value >= bound:
            raise MethodError(f"{type(self).__name__}.{field} must be at least {bound}, got {value}.")

    def above(self, field: str, bound: float) -> None:
        """Refuse a field that is not above `bound`."""
        value = getattr(self, field)
        if not value > bound:
            raise MethodError(f"{type(self).__name__}.{field} must be above {bound}, got {value}.")

    def probability(self, field: str) -> None:
        """Refuse a field outside [0, 1)."""
        value = getattr(self, field)
        if not 0 <= value < 1:
            raise MethodError(f"{type(self).__name__}.{field} must be in [0, 1), got {value}.")

    def required(self, field: str, what: str) -> Any:
        """The value of a field that has no default; refused if it is None, with `what` the field is."""
        value = getattr(self, field)
        if value is None:
            raise MethodError(f"{type(self).__name__}.{field} must be given: {what}.")
        return value

    def to_dict(self) -> dict[str, Any]:
        """The method's name and fields as plain data."""
        values = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        return {"method": type(self).__name__.lower()} | values

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Method":
        """Build a method from what `to_dict` gave.

        Raises:
            MethodError: if the method or one of its fields is unknown, or a value has the wrong type.
        """
        values = dict(data)
        kind = method_class(values.pop("method", ""))
        return kind.from_fields(values)

    @classmethod
    def from_fields(cls, values: Mapping[str, Any]) -> "Method":
        """Build this method from field values, refusing unknown names.

        Raises:
            MethodError: if a field is unknown or a value has the wrong type.
        """
        known = {spec.name for spec in fields(cls)}
        for name in values:
            if name not in known:
                raise MethodError(f"{cls.__name__} has no field {name!r}. {nearest(name, known)}")
        tuples = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        hints = get_type_hints(cls)
        for name, value in tuples.items():
            _check_type(cls.__name__, name, value, hints[name])
        return cls(**tuples)


@dataclass(frozen=True)
class LowRank(Method):
    """A method whose delta is alpha / rank times a product of some rank.

    Attributes:
        rank: inner dimension of the product.
        alpha: scale of the product; the delta is multiplied by alpha / rank.
        dropout: probability of zeroing entries of the adapter's input in training.

    Raises:
        MethodError: if rank < 1, alpha <= 0 or dropout is outside [0, 1).
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0

    def validate(self) -> None:
        """Check ranges."""
        self.at_least("rank", 1)
        self.above("alpha", 0)
        self.probability("dropout")

    @property
    def scaling(self) -> float:
        """What the product is multiplied by, alpha / rank."""
        return self.alpha / self.rank


def register(method: M) -> M:
    """Make a method known by its lower-case class name."""
    _REGISTRY[method.__name__.lower()] = method
    return method


def methods() -> dict[str, type[Method]]:
    """All registered methods by name."""
    return dict(sorted(_REGISTRY.items()))


def method_class(name: str) -> type[Method]:
    """The method of that name.

    Raises:
        MethodError: if there is none; the message names the nearest.
    """
    if name not in _REGISTRY:
        raise MethodError(f"there is no method {name!r}. {nearest(str(name), _REGISTRY)}")
    return _REGISTRY[name]


def _check_type(owner: str, name: str, value: Any, hint: Any) -> None:
    if not _fits(value, hint):
        wanted = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
        raise MethodError(f"{owner}.{name} must be {wanted}, got {value!r} ({type(value).__name__}).")


def _fits(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, get_args(hint)[0]) for item in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return value is None if hint in (None, NoneType) else isinstance(value, hint)

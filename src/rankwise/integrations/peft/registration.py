# SPDX-License-Identifier: Apache-2.0
# PEFT's layers and configurations are known by their attributes at run time, which a type checker cannot see.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false
# pyright: reportCallIssue=false, reportReturnType=false, reportOperatorIssue=false, reportPrivateImportUsage=false
"""Make PEFT accept every method of rankwise as one of its own.

    register()
    model = peft.get_peft_model(model, config("dora")(rank=8, target_modules=["q_proj"]))

PEFT lists its types in a closed enum; each method gets a member there, `RW` and its name. A saved adapter carries that
name, so `register()` must have run before PEFT loads one.
"""

from peft import PeftType
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING
from peft.utils import register_peft_method

from rankwise.core.method import Method, method_class, methods
from rankwise.errors import MethodError, StateError
from rankwise.integrations.peft.config import RankwiseConfig, config_class, peft_name
from rankwise.integrations.peft.tuner import tuner_class


def register_all() -> dict[str, type[RankwiseConfig]]:
    """Register every method that is not registered yet; see `rankwise.integrations.peft.register`."""
    return {name: config(name) for name, method in methods().items() if not method.calibrated}


def config(name: str) -> type[RankwiseConfig]:
    """The config class of a method, registered if it is not yet.

    Raises:
        MethodError: if there is no such method, or it starts from data.
        StateError: if PEFT has something else under its name or prefix.
    """
    method = method_class(name)
    if method.calibrated:
        raise MethodError(
            f"{method.__name__} starts from data, which peft.get_peft_model has no place for; use rankwise.adapt with "
            "calibration=loader, and convert(LoRA(...)) and export_peft for a folder of PEFT's."
        )
    known = peft_name(method).upper()
    if known in PeftType.__members__ and PeftType[known] in PEFT_TYPE_TO_CONFIG_MAPPING:
        found = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType[known]]
        if getattr(found, "method_class", None) is not method:
            raise StateError(f"PEFT already has a method {known!r}, which is not rankwise's {name!r}.")
        return found
    return _register(method)


def _register(method: type[Method]) -> type[RankwiseConfig]:
    name = peft_name(method)
    tuner = tuner_class(method, name)
    if tuner.prefix in PEFT_TYPE_TO_PREFIX_MAPPING.values():
        raise StateError(f"PEFT already has a method whose tensors are named {tuner.prefix!r}.")
    _extend(name.upper())
    made = config_class(method)
    register_peft_method(name=name, config_cls=made, model_cls=tuner)
    return made


def _extend(name: str) -> None:
    """Add a member to PEFT's enum of types, which has no way to do so itself."""
    if name in PeftType.__members__:
        return
    member = str.__new__(PeftType, name)
    member._name_ = member._value_ = name
    member._sort_order_ = len(PeftType.__members__)
    PeftType._member_names_.append(name)
    PeftType._member_map_[name] = PeftType._value2member_map_[name] = member
    type.__setattr__(PeftType, name, member)

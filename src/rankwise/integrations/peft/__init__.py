# SPDX-License-Identifier: Apache-2.0
"""PEFT both ways: adapters to and from its folders, and every method as one of its own.

    export_peft(adaptation, "out")                       rankwise -> PEFT's folder
    adaptation = import_peft(model, "out")               PEFT's folder -> rankwise
    configs = register()                                 methods inside PEFT
    model = peft.get_peft_model(model, configs["lora"](rank=8, target_modules=["q_proj"]))

Reading and writing folders needs no PEFT; `register` does.
"""

from typing import TYPE_CHECKING

from rankwise.integrations.peft.exporting import export_peft
from rankwise.integrations.peft.importing import import_peft

if TYPE_CHECKING:
    from rankwise.integrations.peft.config import RankwiseConfig

__all__ = ["export_peft", "import_peft", "register"]


def register() -> "dict[str, type[RankwiseConfig]]":
    """Make every method of rankwise one of PEFT's, with the type `RW` and its name.

    Methods that start from data (EVA) are left out: `peft.get_peft_model` has no place for a loader.

    May be called again, for instance after new methods were registered with rankwise. It must have been called before
    PEFT loads an adapter of such a type.

    Returns:
        The config class of each method, by rankwise's name of it.

    Raises:
        StateError: if PEFT has another method under one of the names or prefixes.
    """
    from rankwise.integrations.peft.registration import register_all  # noqa: PLC0415 - optional extra

    return register_all()

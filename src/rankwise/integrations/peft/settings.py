# SPDX-License-Identifier: Apache-2.0
# PEFT's layers and configurations are known by their attributes at run time, which a type checker cannot see.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false
# pyright: reportCallIssue=false, reportReturnType=false, reportOperatorIssue=false, reportPrivateImportUsage=false
"""Which of PEFT's LoRA settings rankwise reads, which it may pass over, and which it refuses.

Every key of adapter_config.json is one of the three. A key that is not known here is fine while it says nothing (null,
false, empty), as the settings of features that are switched off do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rankwise.errors import CheckpointError, listed

_STARTS = (True, False, "gaussian", "eva", "orthogonal")  # starts that leave the base weights alone
_READ: dict[str, type | tuple[type, ...]] = {
    "peft_type": str,
    "r": int,
    "lora_alpha": (int, float),
    "lora_dropout": (int, float),
    "use_rslora": bool,
    "use_dora": bool,
    "lora_bias": bool,
    "rank_pattern": dict,
    "alpha_pattern": dict,
    "target_modules": (list, str),
    "target_parameters": list,
    "exclude_modules": (list, str),
    "layers_to_transform": (list, int),
    "layers_pattern": (list, str),
    "peft_version": str,
}
_DEFAULTS = {"r": 8, "lora_alpha": 8, "lora_dropout": 0.0}
_PASSED_OVER = {  # where it came from, and what only its training or its loading used
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "eva_config",
    "fan_in_fan_out",
    "inference_mode",
    "lora_ga_config",
    "loftq_config",
    "megatron_core",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
}


@dataclass(frozen=True)
class Settings:
    """What a LoRA folder of PEFT's says about its adapter; the names are PEFT's."""

    r: int
    lora_alpha: float
    lora_dropout: float
    use_rslora: bool
    use_dora: bool
    lora_bias: bool
    rank_pattern: dict[str, int]
    alpha_pattern: dict[str, float]
    target_modules: list[str] | str
    target_parameters: list[str]
    exclude_modules: list[str] | str
    layers_to_transform: list[int]
    layers_pattern: list[str]
    peft_version: str | None


def settings(config: Mapping[str, Any], where: str) -> Settings:
    """Read adapter_config.json.

    Raises:
        CheckpointError: if it is not LoRA's, or uses a feature that rankwise's LoRA and DoRA do not have; the message
            names
            the key.
    """
    if config.get("peft_type") != "LORA":
        raise CheckpointError(
            f"{where}: peft_type is {config.get('peft_type')!r}; rankwise reads 'LORA' (with DoRA). Convert it with "
            "peft.convert_to_lora first."
        )
    for key, value in config.items():
        _require_known(key, value, where)
    given = {key: config[key] for key in _READ if config.get(key) is not None}
    for key, value in given.items():
        if not isinstance(value, _READ[key]) or (isinstance(value, bool) and _READ[key] is not bool):
            raise CheckpointError(f"{where}: {key!r} has the wrong type {type(value).__name__}.")
    if not given.get("target_modules") and not given.get("target_parameters"):
        raise CheckpointError(f"{where}: neither 'target_modules' nor 'target_parameters' names anything.")
    values = {**_DEFAULTS, **given}
    return Settings(
        **{key: values[key] for key in ("r", "lora_alpha", "lora_dropout")},
        **{key: bool(values.get(key)) for key in ("use_rslora", "use_dora", "lora_bias")},
        **{key: values.get(key) or {} for key in ("rank_pattern", "alpha_pattern")},
        **{key: values.get(key) or [] for key in ("target_modules", "target_parameters", "exclude_modules")},
        **{key: _as_list(values.get(key)) for key in ("layers_to_transform", "layers_pattern")},
        peft_version=values.get("peft_version"),
    )


def _require_known(key: str, value: Any, where: str) -> None:
    if key in _READ or key in _PASSED_OVER:
        return
    if key == "bias":
        fits, allowed = value in ("none", None), "'none' (biases in the folder would overwrite those of the base)"
    elif key == "init_lora_weights":
        fits = isinstance(value, bool | str | None) and value in (*_STARTS, None)
        allowed = f"one of {listed(map(str, _STARTS))} (others rewrite the base weights when PEFT loads the folder)"
    else:
        fits, allowed = not value, "null (rankwise's LoRA has no such feature)"
    if not fits:
        raise CheckpointError(f"{where}: {key!r} is {value!r}, which rankwise cannot read; allowed is {allowed}.")


def _as_list(value: Any) -> list:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]

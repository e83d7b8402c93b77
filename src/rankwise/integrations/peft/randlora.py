# SPDX-License-Identifier: Apache-2.0
"""Put a RandLoRA adapter that PEFT saved onto a model, or change nothing.

PEFT's randlora_lambda [r, n] is our lam, transposed, and its randlora_gamma [n, min(in, out)] our gam. The bases are
drawn again from PEFT's key; if the folder holds them (PEFT's default), they must be the ones that it draws, which also
holds for adapters that PEFT drew in bfloat16, as it does wherever that is available.

Does not read pickled folders, nor folders with trained biases or modules.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rankwise.adapters.randlora import RandLoRA, RandLoRAAdapter
from rankwise.core.adaptation import Adaptation
from rankwise.core.place import Parts, assemble, place, unwrapped
from rankwise.core.select import named_targets
from rankwise.errors import CheckpointError, MethodError, TargetError, listed
from rankwise.integrations.peft import folder as files
from rankwise.integrations.peft.holders import Holder
from rankwise.integrations.peft.matching import matched
from rankwise.integrations.peft.settings import Settings

_BASES = ("randlora_A", "randlora_B")
_BESIDE = tuple(f"base_model.{name}" for name in _BASES)
_PASSED_OVER = {  # where it came from, and what only PEFT's own training or loading used
    "auto_mapping",
    "base_model_name_or_path",
    "fan_in_fan_out",
    "inference_mode",
    "init_weights",
    "peft_version",
    "revision",
    "runtime_config",
    "save_projection",
    "task_type",
}
_READ: dict[str, type | tuple[type, ...]] = {
    "peft_type": str,
    "r": int,
    "randlora_alpha": (int, float),
    "randlora_dropout": (int, float),
    "projection_prng_key": int,
    "sparse": bool,
    "very_sparse": bool,
    "target_modules": (list, str),
    "layers_to_transform": (list, int),
    "layers_pattern": (list, str),
}


def import_randlora(model: nn.Module, folder: str | Path, name: str = "default") -> Adaptation:
    """Put the RandLoRA adapter in a folder of PEFT's onto a model.

    Args:
        model: the base that the adapter was trained on; a folder of PEFT's has nothing to check its weights by.
        folder: what PEFT's `save_pretrained` wrote, with safetensors.
        name: the adapter's name on this model.

    Returns:
        The handle; saving it writes rankwise's own format, without bases.

    Raises:
        CheckpointError: if the folder is damaged or pickled, holds another method, a feature that rankwise lacks or
            bases that its key does not give, or its tensors do not fit the model; the model is then as it was.
        StateError: if the name is taken.
    """
    config, tensors = files.read(Path(folder), _BESIDE)
    where = str(Path(folder) / files.CONFIG)
    given = _given(config, where)
    model = unwrapped(model)
    try:
        places = list(matched(model, _settings(given)))
        if not places:
            raise TargetError(f"the model has none of target_modules={given['target_modules']}")
        wrong = [one.target for one in places if one.form != "linear" or one.attention]
        if wrong:
            raise TargetError(f"PEFT's RandLoRA adapts linear layers alone, and {listed(wrong)} are none")
        found = named_targets(model, [one.target for one in places])
        parts = assemble(_method(given), found, ranks={}, dtype=None, seed=given["projection_prng_key"])
    except (TargetError, MethodError) as error:
        raise CheckpointError(f"{where}: {error}") from error
    _fill(parts, places, tensors, str(Path(folder) / files.TENSORS))
    return Adaptation(model, name, place(model, name, parts))


def _given(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The settings that count, each of the right type."""
    if config.get("peft_type") != "RANDLORA":
        raise CheckpointError(
            f"{where}: peft_type is {config.get('peft_type')!r}; import_randlora reads 'RANDLORA', import_peft LoRA."
        )
    for key, value in config.items():
        known = key in _READ or key in _PASSED_OVER or (key == "bias" and value in ("none", None))
        if not known and value:
            raise CheckpointError(f"{where}: {key!r} is {value!r}, which rankwise's RandLoRA has not; it must be null.")
    given = {"randlora_dropout": 0.0, "sparse": False, "very_sparse": False}
    given |= {key: config[key] for key in _READ if config.get(key) is not None}
    for key, kind in _READ.items():
        if key in given and (not isinstance(given[key], kind) or (isinstance(given[key], bool) and kind is not bool)):
            raise CheckpointError(f"{where}: {key!r} has the wrong type {type(given[key]).__name__}.")
    missing = {"r", "randlora_alpha", "projection_prng_key", "target_modules"} - given.keys()
    if missing:
        raise CheckpointError(f"{where}: {listed(sorted(missing))} is missing.")
    return given


def _method(given: Mapping[str, Any]) -> RandLoRA:
    return RandLoRA(
        rank=given["r"],
        alpha=float(given["randlora_alpha"]),
        scaling="peft",
        dropout=float(given["randlora_dropout"]),
        basis="very_sparse" if given["very_sparse"] else "sparse" if given["sparse"] else "bfloat16",
        pairing="peft",
    )


def _settings(given: Mapping[str, Any]) -> Settings:
    """The settings as `matched` reads them."""
    layers, names = given.get("layers_to_transform", []), given.get("layers_pattern", [])
    return Settings(
        r=given["r"],
        lora_alpha=given["randlora_alpha"],
        lora_dropout=given["randlora_dropout"],
        use_rslora=False,
        use_dora=False,
        lora_bias=False,
        rank_pattern={},
        alpha_pattern={},
        target_modules=given["target_modules"],
        target_parameters=[],
        exclude_modules=[],
        layers_to_transform=[layers] if isinstance(layers, int) else layers,
        layers_pattern=[names] if isinstance(names, str) else names,
        peft_version=None,
    )


def _fill(parts: Parts, places: list[Holder], tensors: Mapping[str, Tensor], where: str) -> None:
    """Copy the diagonals, once every tensor is known to fit."""
    pairs: dict[str, tuple[Tensor, Tensor]] = {}
    optional: dict[str, Tensor] = {}
    for one in places:
        adapter = parts.adapters[one.target]
        assert isinstance(adapter, RandLoRAAdapter)
        bases = dict(zip(_BASES, (adapter.shared.a[:, None], adapter.shared.b), strict=True))
        optional |= {one.key + key: value for key, value in bases.items()}
        optional |= dict(zip(_BESIDE, bases.values(), strict=True))
        for key, own in (("randlora_lambda", adapter.lam.detach().mT), ("randlora_gamma", adapter.gam.detach())):
            pairs[one.key + key] = own, tensors.get(one.key + key, own.new_empty(0))
    extra = tensors.keys() - pairs.keys() - optional.keys()
    unfit = [key for key, (own, saved) in pairs.items() if own.shape != saved.shape]
    if extra or unfit:
        raise CheckpointError(
            f"{where}: tensors do not fit the settings and the model; missing or of another shape: {listed(unfit)}; "
            f"unexpected: {listed(sorted(extra))}."
        )
    for key, drawn in optional.items():
        if key in tensors and not _same(tensors[key], drawn):
            raise CheckpointError(
                f"{where}: {key!r} is not what its key draws here (PEFT may have drawn it in float16, or for more "
                "layers than the settings name), and rankwise saves no bases; load it in PEFT, which can convert it to "
                "LoRA with peft.convert_to_lora."
            )
    for own, saved in pairs.values():
        own.copy_(saved)


def _same(saved: Tensor, drawn: Tensor) -> bool:
    """Whether two bases agree to the last bits of a float32 division, or of the dtype they were saved in."""
    tolerance = 2 * torch.finfo(saved.dtype).eps
    return saved.shape == drawn.shape and torch.allclose(
        saved.to(drawn), drawn, rtol=max(tolerance, 1e-6), atol=tolerance
    )

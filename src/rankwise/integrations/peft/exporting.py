# SPDX-License-Identifier: Apache-2.0
# PEFT's layers and configurations are known by their attributes at run time, which a type checker cannot see.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false
# pyright: reportCallIssue=false, reportReturnType=false, reportOperatorIssue=false, reportPrivateImportUsage=false
"""Write a LoRA or DoRA adapter as PEFT would have saved it.

PEFT's scaling is lora_alpha / r, or lora_alpha / sqrt(r), so a scale of the adaptation goes into lora_alpha. A start
from the base (PiSSA, OLoRA) is kept beside the trained factors at twice the rank, on the untouched base. Ranks and
scalings that differ between weights become rank_pattern and alpha_pattern.

Does not write other methods: convert them to LoRA first. Dropout is written unless a parameter is among the targets,
for which neither PEFT nor rankwise has one.
"""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rankwise.adapters.dora import DoRA, DoRAAdapter
from rankwise.adapters.lora import LoRA, LoRAAdapter
from rankwise.core.adaptation import Adaptation
from rankwise.core.adapter import Adapter
from rankwise.core.layer import SLOTS
from rankwise.core.select import clean
from rankwise.core.sharded import whole
from rankwise.core.targets import EmbeddingTarget, Target
from rankwise.errors import MethodError, TargetError, listed
from rankwise.integrations.peft import folder as files
from rankwise.integrations.peft.attention import installed, times_added
from rankwise.integrations.peft.forms import Product, peft_rank, to_peft
from rankwise.integrations.peft.holders import Holder, attention_holders, holders


def export_peft(adaptation: Adaptation, folder: str | Path) -> None:
    """Write an adapter to a folder that `peft.PeftModel.from_pretrained` loads, with the same outputs.

    Args:
        adaptation: an adapter of the method LoRA or DoRA.
        folder: made if it does not exist; an adapter of the same format in it is replaced.

    Raises:
        MethodError: if the method is neither; `adaptation.convert(LoRA(rank=...))` gives one that is. Or if a DoRA has
            a scale
            other than 1, for which PEFT has no place.
        TargetError: if PEFT has no way to hold or to apply the adapter of a weight; nothing is written then.
        StateError: if the output projection of an attention is adapted and no PEFT is installed; see `attention`.
        CheckpointError: if the folder cannot be written.
    """
    method = adaptation.method
    if not isinstance(method, LoRA | DoRA):
        raise MethodError(
            f"{type(method).__name__} has no form in PEFT; call adaptation.convert(LoRA(rank=...)) first, which "
            "gives the "
            "nearest LoRA and its error."
        )
    targets, adapters = adaptation.targets, adaptation.adapters
    places = holders(adaptation.model, targets.values())
    products = {name: _product(adapters[name], adaptation.scale) for name in targets}
    places, products = _whole_attentions(adaptation.model, places, products)
    _require_forms(places, products, targets)
    tensors: dict[str, Tensor] = {}
    ranks, scalings = {}, {}
    for place in places:
        target = targets.get(place.target)
        product = products[place.target]
        ranks[place.module] = product.rank if target is None else peft_rank(place.form, target, product.rank)
        scalings[place.module] = product.scaling
        parts = _plain(product) if target is None else to_peft(product, place.form, target, transposed=place.transposed)
        tensors |= {place.key + key: value for key, value in parts.items()}
    config = _config(adaptation, method, places, ranks, scalings)
    if torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_rank() != 0:
        return
    files.write(Path(folder), config, tensors)


def _product(adapter: Adapter, scale: float) -> Product:
    assert isinstance(adapter, LoRAAdapter | DoRAAdapter)
    left, right = whole(adapter.left.detach()), whole(adapter.right.detach())
    if isinstance(adapter, LoRAAdapter) and adapter.from_base:
        left = torch.cat([left, -whole(adapter.left0)], dim=-1)
        right = torch.cat([right, whole(adapter.right0)], dim=-2)
    bias = adapter.bias_delta()
    magnitude = None
    if isinstance(adapter, DoRAAdapter):
        if scale != 1.0:
            raise MethodError(f"the scale is {scale}, and PEFT's DoRA has none; set adaptation.scale = 1 first.")
        magnitude = whole(adapter.magnitude.detach())
    product = Product(
        left, right, adapter.scaling * scale, None if bias is None else whole(bias.detach()) * scale, magnitude
    )
    padding = adapter.target.module.padding_idx if isinstance(adapter.target, EmbeddingTarget) else None
    return product if padding is None else _unpadded(product, adapter.target, padding)


def _unpadded(product: Product, target: Target, padding: int) -> Product:
    """A product without the padding column, which PEFT would add; for DoRA with the magnitude that keeps m / ||V||."""
    right = product.right.clone()
    right[:, padding] = 0
    if product.magnitude is None:
        return replace(product, right=right)
    base = target.matrix(torch.float64)
    if bool(base[:, padding].any()):
        raise TargetError(
            f"the padding row of {target.name!r} is not zero; PEFT's DoRA would rescale it, rankwise does not."
        )
    left = product.scaling * product.left.double()
    before, after = ((base + left @ one.double()).norm(dim=-1) for one in (product.right, right))
    return replace(product, right=right, magnitude=product.magnitude * (after / before).to(product.magnitude))


def _whole_attentions(
    model: nn.Module, places: list[Holder], products: dict[str, Product]
) -> tuple[list[Holder], dict[str, Product]]:
    """Both projections of every attention module that PEFT wraps, at one rank; zeros for one not adapted."""
    result, found = [one for one in places if not one.attention], dict(products)
    for path in dict.fromkeys(one.attention for one in places if one.attention):
        pair = attention_holders(path, f"{path}.in_proj_weight", f"{path}.out_proj")
        here = [products[one.target] for one in pair if one.target in products]
        rank, scaling = max(one.rank for one in here), here[0].scaling
        width = model.get_submodule(path).embed_dim
        for place, rows in zip(pair, (3 * width, width), strict=True):
            empty = Product(here[0].left.new_zeros(rows, rank), here[0].right.new_zeros(rank, width), scaling)
            product = products.get(place.target, empty)
            if place.output and place.target in products:
                product = replace(product, scaling=product.scaling / times_added(installed()))
            found[place.target] = product.widened(rank, scaling)
        result += pair
    return result, found


def _plain(product: Product) -> dict[str, Tensor]:
    return {"lora_A.weight": product.right.contiguous(), "lora_B.weight": product.left.contiguous()}


def _require_forms(places: list[Holder], products: dict[str, Product], targets: dict[str, Target]) -> None:
    biased = [name for name, product in products.items() if product.bias is not None]
    unfit = [one.target for one in places if one.attention or one.form in ("embedding", "parameter")]
    if biased and unfit:
        raise TargetError(
            f"the adapter trains biases ({listed(biased)}) beside {listed(unfit)}, for which PEFT refuses "
            "lora_bias; train "
            "without bias=True, or leave those targets out."
        )
    unfit = [one.target for one in places if one.attention or one.form == "parameter"]
    unfit += [name for name, target in targets.items() if target.groups > 1]
    if unfit and any(product.magnitude is not None for product in products.values()):
        raise TargetError(
            f"PEFT has no DoRA for {listed(unfit)} (attention modules, parameters, grouped convolutions); leave "
            "those targets "
            "out, or convert(LoRA(rank=...))."
        )


def _config(
    adaptation: Adaptation, method: LoRA | DoRA, places: list[Holder], ranks: dict[str, int], scalings: dict[str, float]
) -> dict[str, Any]:
    stabilized = isinstance(method, LoRA) and method.stabilized
    alphas = {name: _tidy(scalings[name] * (rank**0.5 if stabilized else rank)) for name, rank in ranks.items()}
    rank, alpha = (Counter(values.values()).most_common(1)[0][0] for values in (ranks, alphas))
    layers = {place.module for place in places if not place.parameter}
    parameters = sorted(place.module for place in places if place.parameter)
    modules = [p.target for p in places]
    linear = [adaptation.targets[name] for name in modules if name in adaptation.targets]
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": _base(adaptation.model),
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {_exactly(name): value for name, value in ranks.items() if value != rank},
        "alpha_pattern": {_exactly(name): value for name, value in alphas.items() if value != alpha},
        "use_rslora": stabilized,
        "use_dora": isinstance(method, DoRA),
        "lora_dropout": 0.0 if parameters else method.dropout,
        "lora_bias": isinstance(method, LoRA) and method.bias,
        "bias": "none",
        "init_lora_weights": True,
        "fan_in_fan_out": any(getattr(target, "transposed", False) for target in linear),
        "target_modules": _selector(adaptation.model, layers),
        "target_parameters": parameters or None,
    }


def _base(model: nn.Module) -> str | None:
    """Where the base was loaded from, as transformers notes it."""
    return getattr(getattr(model, "config", None), "_name_or_path", None) or None


def _tidy(alpha: float) -> float:
    """An integer where only rounding separates it from one."""
    return round(alpha) if abs(alpha - round(alpha)) < 1e-9 * max(1.0, abs(alpha)) else alpha


def _exactly(name: str) -> str:
    """A pattern that matches this one name (PEFT lets a pattern match the end of a name too)."""
    return "^" + re.escape(name)


def _selector(model: nn.Module, wanted: set[str]) -> list[str] | str:
    """The shortest `target_modules` that PEFT matches with exactly these modules of a fresh base."""
    names = [clean(path) for path, _ in model.named_modules() if path and SLOTS not in path.split(".")]
    for chosen in (sorted({name.rsplit(".", 1)[-1] for name in wanted}), sorted(wanted)):
        if {name for name in names if _matches(chosen, name)} == wanted:
            return chosen
    return "|".join(re.escape(name) for name in sorted(wanted))


def _matches(suffixes: list[str], name: str) -> bool:
    return any(name == suffix or name.endswith("." + suffix) for suffix in suffixes)

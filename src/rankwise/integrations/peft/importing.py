# SPDX-License-Identifier: Apache-2.0
# PEFT's layers and configurations are known by their attributes at run time, which a type checker cannot see.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false
# pyright: reportCallIssue=false, reportReturnType=false, reportOperatorIssue=false, reportPrivateImportUsage=false
"""Put a LoRA or DoRA adapter that PEFT saved onto a model, or change nothing.

Ranks and scalings of single weights are kept: ranks as ranks, a scaling that differs from the method's own by
rescaling the left factor. A rank above min(out, in), which PEFT allows and which adds nothing, is lowered to that by a
QR decomposition of the factors; the delta stays the same.

Does not read pickled folders, nor features of PEFT's LoRA beyond ranks, scalings, DoRA and biases; `settings` names
them.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from rankwise.adapters.dora import DoRA, DoRAAdapter
from rankwise.adapters.lora import LoRA, LoRAAdapter
from rankwise.core.adaptation import Adaptation
from rankwise.core.place import assemble, place, unwrapped
from rankwise.core.select import named_targets
from rankwise.core.targets import EmbeddingTarget, Target
from rankwise.errors import CheckpointError, MethodError, StateError, TargetError, listed
from rankwise.integrations.peft import folder as files
from rankwise.integrations.peft.attention import times_added
from rankwise.integrations.peft.forms import Product, from_peft, names, shapes
from rankwise.integrations.peft.holders import Holder
from rankwise.integrations.peft.matching import matched, pattern
from rankwise.integrations.peft.settings import Settings, settings
from rankwise.linalg.svd import svd_of_product


def import_peft(model: nn.Module, folder: str | Path, name: str = "default") -> Adaptation:
    """Put the adapter in a folder of PEFT's onto a model.

    Args:
        model: the base that the adapter was trained on; its base weights are not checked, a folder of PEFT's has
            nothing to
            check them by.
        folder: what PEFT's `save_pretrained` wrote, with safetensors.
        name: the adapter's name on this model.

    Returns:
        The handle; its method is LoRA or DoRA.

    Raises:
        CheckpointError: if the folder is damaged or pickled, holds another method or a feature that rankwise lacks, or
            its
            tensors do not fit the model; the model is then as it was.
        StateError: if the name is taken.
    """
    folder = Path(folder)
    config, tensors = files.read(folder)
    where = str(folder / files.CONFIG)
    read = settings(config, where)
    model = unwrapped(model)
    try:
        places = list(matched(model, read))
        targets = dict(zip([p.target for p in places], named_targets(model, [p.target for p in places]), strict=True))
        if not places:
            raise TargetError(f"the model has none of target_modules={read.target_modules}")
        products = _products(read, places, targets, tensors, str(folder / files.TENSORS))
        parts = _parts(read, targets, products)
    except (TargetError, MethodError, StateError) as error:
        raise CheckpointError(f"{where}: {error}") from error
    return Adaptation(model, name, place(model, name, parts))


def _products(
    read: Settings, places: list[Holder], targets: dict[str, Target], tensors: dict[str, Tensor], where: str
) -> dict[str, Product]:
    expected: dict[str, tuple[int, ...]] = {}
    for one in places:
        rank = pattern(read.rank_pattern, one.module, read.r)
        sizes = shapes(one.form, targets[one.target], rank, transposed=one.transposed)
        keys = names(one.form, bias=read.lora_bias, magnitude=read.use_dora)
        expected |= {one.key + key: sizes[key] for key in keys}
    _require_tensors(expected, _without_base(tensors, targets, where), where)
    products = {}
    for one in places:
        keys = names(one.form, bias=read.lora_bias, magnitude=read.use_dora)
        own = {key: tensors[one.key + key] for key in keys}
        rank = pattern(read.rank_pattern, one.module, read.r)
        scaling = pattern(read.alpha_pattern, one.module, read.lora_alpha) / (rank**0.5 if read.use_rslora else rank)
        if one.output:
            scaling *= times_added(read.peft_version)
        product = from_peft(own, scaling, one.form, targets[one.target], transposed=one.transposed)
        products[one.target] = _fitted(product, targets[one.target], where)
    return products


def _require_tensors(expected: dict[str, tuple[int, ...]], found: Mapping[str, Tensor], where: str) -> None:
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    shaped = sorted(key for key in expected.keys() & found.keys() if expected[key] != tuple(found[key].shape))
    if missing or extra or shaped:
        problems = [f"missing: {listed(missing)}"] if missing else []
        problems += [f"unexpected: {listed(extra)}"] if extra else []
        problems += [f"{key}: expected {list(expected[key])}, found {list(found[key].shape)}" for key in shaped[:10]]
        raise CheckpointError(f"{where}: tensors do not fit the settings and the model: {'; '.join(problems)}.")


def _without_base(tensors: dict[str, Tensor], targets: dict[str, Target], where: str) -> dict[str, Tensor]:
    """The tensors without the tables that PEFT saves beside the adapters of embeddings, if they are the base's own."""
    rest = dict(tensors)
    for name, target in targets.items():
        saved = rest.pop(f"{name}.base_layer.weight", None)
        if saved is not None and not torch.equal(saved.to(target.stored()), target.stored()):
            raise CheckpointError(
                f"{where}: {name}.base_layer.weight differs from the model's own weight; rankwise loads "
                "adapters and leaves "
                "the base alone. Load the base this folder was trained on."
            )
    return rest


def _fitted(product: Product, target: Target, where: str) -> Product:
    """The product at a rank that the weight can have, with nothing that rankwise would leave out."""
    if isinstance(target, EmbeddingTarget) and target.module.padding_idx is not None:
        column = product.right[:, target.module.padding_idx]
        if bool((product.left @ column != 0).any()):
            raise CheckpointError(
                f"{where}: the adapter of {target.name!r} changes its padding row, which is not adapted."
            )
        if product.magnitude is not None and bool(target.matrix()[:, target.module.padding_idx].any()):
            raise CheckpointError(
                f"{where}: PEFT's DoRA rescales the padding row of {target.name!r}, rankwise does not."
            )
    if product.bias is not None and target.bias() is None and bool((product.bias != 0).any()):
        raise CheckpointError(f"{where}: the adapter of {target.name!r} has a bias, the layer has none.")
    limit = min(target.out_features, target.in_features)
    if product.rank <= limit:
        return product
    u, s, v = svd_of_product(product.left.double(), product.right.double())
    root = s[..., :limit].sqrt()
    left, right = u[..., :limit] * root[..., None, :], root[..., :, None] * v[..., :limit, :]
    dtype = product.left.dtype
    return Product(left.to(dtype), right.to(dtype), product.scaling, product.bias, product.magnitude)


def _parts(read: Settings, targets: dict[str, Target], products: dict[str, Product]):
    ranks = {name: product.rank for name, product in products.items()}
    method = _method(read)
    for target in targets.values():
        target.restoring = True
    wide = any(product.left.dtype == torch.float64 for product in products.values())
    try:
        parts = assemble(
            method,
            list(targets.values()),
            ranks=ranks if set(ranks.values()) != {read.r} else {},
            dtype=torch.float64 if wide else None,
            seed=0,
        )
    finally:
        for target in targets.values():
            target.restoring = False
    for name, adapter in parts.adapters.items():
        _fill(adapter, products[name])
    return parts


def _method(read: Settings) -> LoRA | DoRA:
    dropout = float(read.lora_dropout)
    if read.use_dora:
        alpha = read.lora_alpha * (read.r**0.5 if read.use_rslora else 1)
        return DoRA(rank=read.r, alpha=float(alpha), dropout=dropout)
    return LoRA(
        rank=read.r, alpha=float(read.lora_alpha), stabilized=read.use_rslora, dropout=dropout, bias=read.lora_bias
    )


def _fill(adapter: LoRAAdapter | DoRAAdapter, product: Product) -> None:
    ratio = product.scaling / adapter.scaling
    with torch.no_grad():
        adapter.left.copy_(product.left if ratio == 1.0 else product.left * ratio)
        adapter.right.copy_(product.right)
        if isinstance(adapter, DoRAAdapter):
            adapter.magnitude.copy_(product.magnitude)
        elif adapter.bias_change is not None:
            adapter.bias_change.copy_(product.bias)

# SPDX-License-Identifier: Apache-2.0
"""Put a saved adapter back onto a base model, or change nothing."""

from pathlib import Path

import torch
from torch import nn

from rankwise.core.adaptation import Adaptation
from rankwise.core.checkpoint import Saved, fill, read_checkpoint
from rankwise.core.fingerprint import differs, fingerprint
from rankwise.core.place import assemble, place, unwrapped
from rankwise.core.select import named_targets
from rankwise.core.targets import Target
from rankwise.errors import CheckpointError, MethodError, TargetError, listed


def load(
    model: nn.Module,
    folder: str | Path,
    *,
    name: str = "default",
    dtype: torch.dtype | None = None,
    other_base: bool = False,
) -> Adaptation:
    """Put the adapter that `adaptation.save(folder)` wrote onto a model.

    Args:
        model: a model with the base weights the adapter was trained on, on any device and in any dtype.
        folder: the saved adapter.
        name: the adapter's name on this model.
        dtype: dtype of the adapter's tensors; None takes the saved one.
        other_base: whether a base with other values (of the same shapes) is wanted.

    Returns:
        The handle, with the method's schedule where it was.

    Raises:
        CheckpointError: if the checkpoint is damaged, does not fit the model, or belongs to another base; the model
            is then as it was.
        StateError: if the name is taken.
    """
    saved = read_checkpoint(Path(folder))
    model = unwrapped(model)
    try:
        found = named_targets(model, list(saved.targets))
    except TargetError as error:
        raise CheckpointError(f"{saved.path}: {error}") from error
    _require_base(saved, found, other_base)
    for target in found:
        target.restoring = True
    try:
        given = {target: rank for target, rank in saved.ranks.items() if rank}
        parts = assemble(saved.method, found, ranks=given, dtype=dtype or saved.dtype, seed=saved.seed)
    except (MethodError, TargetError) as error:
        raise CheckpointError(f"{saved.path}: {error}") from error
    finally:
        for target in found:
            target.restoring = False
    fill(saved, parts.installed, parts.adapters)
    return Adaptation(model, name, place(model, name, parts))


def _require_base(saved: Saved, found: list[Target], other_base: bool) -> None:
    differences = {t.name: differs(saved.targets[t.name], fingerprint(t)) for t in found}
    wrong = {name: text for name, text in differences.items() if text is not None}
    shapes = {name: text for name, text in wrong.items() if text.startswith("shape")}
    if shapes or (wrong and not other_base):
        name, text = next(iter((shapes or wrong).items()))
        raise CheckpointError(
            f"{saved.path}: the adapter was trained on another base: {len(wrong)} of {len(found)} targets differ "
            f"({listed(wrong)}); {name!r} has {text}."
            + ("" if shapes else " Load the right base, or pass other_base=True if this is meant.")
        )

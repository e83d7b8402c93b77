# SPDX-License-Identifier: Apache-2.0
# PEFT's layers and configurations are known by their attributes at run time, which a type checker cannot see.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIndexIssue=false
# pyright: reportCallIssue=false, reportReturnType=false, reportOperatorIssue=false, reportPrivateImportUsage=false
"""How many times PEFT adds the delta of an attention module's output projection.

    PEFT's LoRA around nn.MultiheadAttention, up to 0.21.2:   W_out = W0 + 2 s B A

Its wrapper merges that delta, in every forward pass and for good, and so does the wrapper of the projection inside
(huggingface/peft pull request 3774 removes one of the two). A folder does not say which it was made for, only by which
version.
"""

from importlib.metadata import PackageNotFoundError, version

import torch
from torch import nn

from rankwise.errors import StateError

_TWICE = (0, 21, 2)  # the last version that is known to add it twice


def installed() -> str | None:
    """The version of the installed PEFT, None if there is none."""
    try:
        return version("peft")
    except PackageNotFoundError:
        return None


def times_added(written_by: str | None) -> int:
    """How often a version of PEFT adds the output projection's delta.

    Args:
        written_by: the version.

    Raises:
        StateError: if it is newer than what is known and not the one that is installed, which could be asked.
    """
    numbers = tuple(int(part) for part in (written_by or "").split("@")[0].split(".")[:3] if part.isdigit())
    if numbers and numbers <= _TWICE:
        return 2
    if written_by is None or written_by != installed():
        raise StateError(
            f"an adapter on the output projection of nn.MultiheadAttention means twice its delta to PEFT up to "
            f"{'.'.join(map(str, _TWICE))}, and PEFT {written_by} is not installed here to be asked; install "
            "that version."
        )
    return _asked()


def _asked() -> int:
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - optional extra

    config = LoraConfig(r=1, lora_alpha=1, target_modules=["0"], init_lora_weights=False)
    wrapped = get_peft_model(nn.Sequential(nn.MultiheadAttention(2, 1)), config).base_model.model[0]
    projection = wrapped.base_layer.out_proj
    before, delta = projection.base_layer.weight.detach().clone(), projection.get_delta_weight("default").detach()
    wrapped.merge()
    after = projection.base_layer.weight.detach()
    return round(float(torch.sum((after - before) * delta) / torch.sum(delta * delta)))

# SPDX-License-Identifier: Apache-2.0
"""Which base weights an adapter was trained on: shape and sampled values of each target.

The samples are compared as ||a - b|| / ||a||, with the rounding of the coarser of the two dtypes allowed for, so the
same base in another dtype passes and another base does not.
"""

from collections.abc import Mapping

import torch

from rankwise.core.quantized import dequantized
from rankwise.core.sharded import whole
from rankwise.core.targets.base import Target

SAMPLES = 16
_ROUNDING = {"float64": 1e-12, "float32": 1e-6, "float16": 2e-3, "bfloat16": 1e-2, "quantized": 0.2}


def fingerprint(target: Target) -> dict:
    """Shape, dtype and sampled values of a target's base weight; if it is sharded, every process must call this."""
    stored = whole(target.stored().detach())
    dense = dequantized(target.module, stored)
    index = torch.linspace(0, dense.numel() - 1, SAMPLES, device=dense.device).round().long()
    sample = dense.flatten()[index].double().tolist() if dense.is_contiguous() else dense.reshape(-1)[index].tolist()
    dtype = "quantized" if target.quantized else str(stored.dtype).removeprefix("torch.")
    return {"shape": list(target.shape), "dtype": dtype, "sample": [float(value) for value in sample]}


def differs(saved: Mapping, present: Mapping) -> str | None:
    """How two fingerprints of one target differ, in words; None if they are of the same weight."""
    if list(saved["shape"]) != list(present["shape"]):
        return f"shape {saved['shape']} in the checkpoint, {present['shape']} in the model"
    a, b = torch.tensor(saved["sample"]).double(), torch.tensor(present["sample"]).double()
    allowed = max(_ROUNDING.get(one["dtype"], 0.0) for one in (saved, present))
    error = float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(a).clamp_min(1e-30))
    if error <= allowed:
        return None
    return f"values {_short(a)} ({saved['dtype']}) in the checkpoint, {_short(b)} ({present['dtype']}) in the model"


def _short(values: torch.Tensor) -> str:
    return "[" + ", ".join(f"{value:.4g}" for value in values[:3].tolist()) + ", ...]"

# SPDX-License-Identifier: Apache-2.0
"""Which weights are stored quantized, and their values as a dense tensor.

Covers torchao's tensor subclasses (int8 weight-only and its siblings) and bitsandbytes' 4-bit and 8-bit layers.
A quantized weight is read, never written: rounding a small update into 4 bits erases it.
"""

from typing import Any

import torch
from torch import Tensor, nn

_PLAIN = (Tensor, nn.Parameter)
_SCALES = {"quant_state", "SCB"}  # what bitsandbytes hangs on a 4-bit and on an 8-bit weight


def is_quantized(module: nn.Module, weight: Tensor) -> bool:
    """Whether a weight is held in a quantized format."""
    return _is_bitsandbytes(weight) or _is_torchao(weight)


def dequantized(module: nn.Module, weight: Tensor) -> Tensor:
    """The values of a weight as a plain tensor; a plain weight is returned as it is.

    Bitsandbytes needs its state beside the weight, hence the module.
    """
    if type(weight) in _PLAIN and weight.is_floating_point():  # torch.compile can trace no more than this
        return weight
    if _is_bitsandbytes(weight):
        return _bitsandbytes_values(module, weight)
    if _is_torchao(weight):
        return weight.dequantize()
    return weight


def _is_torchao(weight: Tensor) -> bool:
    return type(weight.data).__module__.startswith("torchao.")


def _is_bitsandbytes(weight: Tensor) -> bool:
    """Also of a weight that was pickled: a plain parameter then, with its scales still beside it."""
    return type(weight).__module__.startswith("bitsandbytes.") or not _SCALES.isdisjoint(vars(weight))


def _bitsandbytes_values(module: Any, weight: Any) -> Tensor:
    import bitsandbytes.functional as bnb  # noqa: PLC0415 - optional: only present where such a layer exists

    if "quant_state" in vars(weight):
        if getattr(weight.quant_state, "packing_format_for_cpu", False):
            return _repacked_values(weight.data, weight.quant_state)
        return bnb.dequantize_4bit(weight.data, weight.quant_state)
    scale = weight.SCB if weight.SCB is not None else module.state.SCB
    return bnb.int8_vectorwise_dequant(weight.data, scale)


def _repacked_values(packed: Tensor, state: Any) -> Tensor:
    """The values of a 4-bit weight [out, in] that bitsandbytes has rearranged for a processor's bfloat16 kernel.

    It does so in place at the first forward for inference. Of 32 rows and two columns the low halves of 32 bytes hold
    the first 16 rows, the high halves the others; the blocks' scales are transposed and rounded to bfloat16.
    """
    rows, half = packed.shape
    both = torch.cat([packed.view(-1, 32) & 15, packed.view(-1, 32) >> 4], dim=1)
    codes = both.view(rows // 32, half, 32, 2).transpose(1, 2).reshape(rows, 2 * half)
    scales = state.absmax.t().float().repeat_interleave(state.blocksize, dim=1)
    return (state.code[codes.long()] * scales).to(state.original_dtype)

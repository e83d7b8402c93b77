# SPDX-License-Identifier: Apache-2.0
"""Which weights are stored quantized, and their values as a dense tensor.

Covers torchao's tensor subclasses (int8 weight-only and its siblings) and bitsandbytes' 4-bit and 8-bit layers.
A quantized weight is read, never written: rounding a small update into 4 bits erases it.

On a processor with bfloat16 products a bitsandbytes 4-bit layer rearranges its weight at the first forward for
inference, and its product gives no gradient to its input from then on, also in training. A model with adapters must
not do that: everything below the layer would stop learning.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_PLAIN = (Tensor, nn.Parameter)
_SCALES = {"quant_state", "SCB"}  # what bitsandbytes hangs on a 4-bit and on an 8-bit weight
_REARRANGES = "support_avx512bf16_for_cpu"  # whether a 4-bit layer of bitsandbytes may rearrange its weight


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


def forbid_rearranging(model: nn.Module) -> dict[str, nn.Module]:
    """Forbid a model's 4-bit layers to rearrange their weights, and undo it where it is done.

    Returns:
        The layers that were allowed to, by name, for `allow_rearranging`.
    """
    layers = {name: module for name, module in model.named_modules() if getattr(module, _REARRANGES, False)}
    for layer in layers.values():
        weight: Any = layer.weight
        if _is_rearranged(weight):
            weight.data, weight.quant_state = _arranged(weight)
            layer.quant_state = weight.quant_state
        setattr(layer, _REARRANGES, False)
    return layers


def allow_rearranging(layers: Iterable[nn.Module]) -> None:
    """Allow layers again to rearrange their weights."""
    for layer in layers:
        setattr(layer, _REARRANGES, True)


def _is_torchao(weight: Tensor) -> bool:
    return type(weight.data).__module__.startswith("torchao.")


def _is_bitsandbytes(weight: Tensor) -> bool:
    """Also of a weight that was pickled: a plain parameter then, with its scales still beside it."""
    return type(weight).__module__.startswith("bitsandbytes.") or not _SCALES.isdisjoint(vars(weight))


def _bitsandbytes_values(module: Any, weight: Any) -> Tensor:
    import bitsandbytes.functional as bnb  # noqa: PLC0415 - optional: only present where such a layer exists

    if "quant_state" in vars(weight):
        if _is_rearranged(weight):
            return _repacked_values(weight.data, weight.quant_state)
        return bnb.dequantize_4bit(weight.data, weight.quant_state)
    scale = weight.SCB if weight.SCB is not None else module.state.SCB
    return bnb.int8_vectorwise_dequant(weight.data, scale)


def _is_rearranged(weight: Any) -> bool:
    return getattr(getattr(weight, "quant_state", None), "packing_format_for_cpu", False)


def _arranged(weight: Any) -> tuple[Tensor, Any]:
    """A rearranged 4-bit weight in the format that it had.

    Every block of scaled codes has one at +-1, so quantizing its values again gives the same codes and scales.
    Bitsandbytes' own way back leaves the scales transposed where they were not quantized.
    """
    import bitsandbytes.functional as bnb  # noqa: PLC0415 - optional: only present where such a layer exists

    state = weight.quant_state
    return bnb.quantize_4bit(
        _repacked_values(weight.data, state),
        blocksize=state.blocksize,
        compress_statistics=state.original_nested,
        quant_type=state.quant_type,
        quant_storage=getattr(state, "original_storage_type", torch.uint8),
    )


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

# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from rankwise.core.quantized import dequantized, is_quantized

bitsandbytes = pytest.importorskip("bitsandbytes")


def layer(nested, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    found = bitsandbytes.nn.Linear4bit(128, 64, bias=False, compute_dtype=dtype, quant_type="nf4")
    weight = torch.randn(64, 128, generator=generator).to(dtype)
    found.weight = bitsandbytes.nn.Params4bit(weight, quant_type="nf4", compress_statistics=nested)
    return found.to("cpu").eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("nested", [False, True])
def test_a_weight_rearranged_for_inference_keeps_its_values(nested, dtype):
    module = layer(nested, dtype)
    before = dequantized(module, module.weight)
    rearrange = bitsandbytes.functional._convert_weight_packed_for_cpu
    module.weight.data, module.weight.quant_state = rearrange(module.weight.data, module.weight.quant_state)
    after = dequantized(module, module.weight)
    assert is_quantized(module, module.weight)
    assert after.dtype == before.dtype
    torch.testing.assert_close(after, before, rtol=2**-7, atol=0)  # the scales are bfloat16 now


@pytest.mark.parametrize("nested", [False, True])
def test_a_forward_for_inference_leaves_the_values(nested):
    # On processors with bfloat16 products it rearranges the weight in place, on others not.
    module = layer(nested)
    before = dequantized(module, module.weight)
    x = torch.randn(3, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = module(x)
    after = dequantized(module, module.weight)
    torch.testing.assert_close(after, before, rtol=2**-7, atol=0)
    torch.testing.assert_close(y, nn.functional.linear(x, after), rtol=0.02, atol=0.2)

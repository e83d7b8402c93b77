# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from rankwise import LoRA, adapt
from rankwise.core.quantized import dequantized, is_quantized

bitsandbytes = pytest.importorskip("bitsandbytes")


def layer(nested, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    found = bitsandbytes.nn.Linear4bit(128, 64, bias=False, compute_dtype=dtype, quant_type="nf4")
    weight = torch.randn(64, 128, generator=generator).to(dtype)
    found.weight = bitsandbytes.nn.Params4bit(weight, quant_type="nf4", compress_statistics=nested)
    return found.to("cpu").eval()


def rearrange(module):
    convert = bitsandbytes.functional._convert_weight_packed_for_cpu
    module.weight.data, module.weight.quant_state = convert(module.weight.data, module.weight.quant_state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("nested", [False, True])
def test_a_weight_rearranged_for_inference_keeps_its_values(nested, dtype):
    module = layer(nested, dtype)
    before = dequantized(module, module.weight)
    rearrange(module)
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


@pytest.mark.parametrize("before", ["adapt", "training"])
@pytest.mark.parametrize("nested", [False, True])
def test_an_adapter_below_a_4_bit_layer_learns_after_a_forward_for_inference(nested, before):
    # A 4-bit layer whose weight is rearranged gives no gradient to its input.
    lower, upper = nn.Linear(64, 128), layer(nested)
    lower.requires_grad_(False)
    model = nn.Sequential(lower, upper).eval()
    upper.support_avx512bf16_for_cpu = True  # as on a processor with bfloat16 products
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(1))
    if before == "adapt":
        rearrange(upper)
    handle = adapt(model, LoRA(rank=2), targets=["0"])
    with torch.no_grad():
        model(x)
    dense = dequantized(upper, upper.weight)
    adapter = handle.adapters["0"]
    (gradient,) = torch.autograd.grad(model(x).square().sum(), adapter.left)
    hidden = lower(x)
    error = 2 * (hidden @ dense.T) @ dense
    torch.testing.assert_close(gradient, adapter.scaling * error.T @ (x @ adapter.right.T), rtol=1e-3, atol=1e-2)


def test_layers_may_rearrange_their_weights_again_after_the_last_adapter():
    model = nn.Sequential(nn.Linear(64, 128), layer(False), layer(False, seed=1))
    model[1].support_avx512bf16_for_cpu, model[2].support_avx512bf16_for_cpu = True, False
    first = adapt(model, LoRA(rank=2), targets=["0"])
    second = adapt(model, LoRA(rank=2), targets=["1"], name="second")
    first.remove()
    assert not model[1].support_avx512bf16_for_cpu
    second.remove()
    assert model[1].support_avx512bf16_for_cpu
    assert not model[2].support_avx512bf16_for_cpu


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_rearranged_weight_gets_its_arrangement_back(nested, kind):
    module = bitsandbytes.nn.Linear4bit(128, 64, bias=False, quant_type=kind)
    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))
    module.weight = bitsandbytes.nn.Params4bit(weight, quant_type=kind, compress_statistics=nested)
    module = module.to("cpu")
    shape, storage = module.weight.shape, module.weight.quant_state.as_dict(packed=True).keys()
    rearrange(module)
    values = dequantized(module, module.weight)
    module.support_avx512bf16_for_cpu = True
    adapt(nn.Sequential(module), LoRA(rank=2))
    assert module.weight.shape == shape
    assert module.weight.quant_state.as_dict(packed=True).keys() == storage
    again = bitsandbytes.functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
    torch.testing.assert_close(again, values, rtol=2**-6 if nested else 0, atol=0)

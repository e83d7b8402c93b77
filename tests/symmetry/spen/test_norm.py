# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch_geometric.nn import GraphNorm

from rankwise.symmetry.spen.norm import SortedGraphNorm


def norm_and_rows(d, lengths, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    norm = SortedGraphNorm(d, 0.1).to(dtype)
    for parameter in norm.parameters():
        parameter.data = torch.randn(d, generator=generator, dtype=dtype)
    batch = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    return norm, torch.randn(sum(lengths), d, generator=generator, dtype=dtype).requires_grad_(), batch


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_is_torch_geometrics_norm_with_its_gradients(dtype):
    norm, x, batch = norm_and_rows(5, [1, 7, 2], dtype)
    inputs = (x, *norm.parameters())
    weights = torch.arange(x.numel(), dtype=dtype).view_as(x).sin()
    results = [call(x, batch, 3) for call in (norm, lambda *given: GraphNorm.forward(norm, *given))]
    grads = [torch.autograd.grad(result, inputs, weights) for result in results]
    torch.testing.assert_close(*results)
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


def test_derivatives_of_both_orders():
    norm, x, batch = norm_and_rows(2, [3, 1, 4])

    def call(x, *parameters):
        named = dict(zip(("weight", "bias", "mean_scale"), parameters, strict=True))
        return torch.func.functional_call(norm, named, (x, batch, 3))

    inputs = (x, *norm.parameters())
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(call, inputs)
        assert check(lambda *parameters: call(x.detach(), *parameters), inputs[1:])

# SPDX-License-Identifier: Apache-2.0
"""Gradients as factors: D^T Z is what autograd gives for the weight, whatever sits on the layer or repeats it."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from random_layers import draw, filled, moved
from rankwise import DoRA, LoRA, TargetError, adapt
from rankwise.core.quantized import dequantized
from rankwise.inspect.data.gradient_factors import Factors, gradient_factors
from rankwise.recipes.errors import ModelError
from rankwise.testing import assert_close

NAMES = ["first", "second"]


class Network(nn.Module):
    """Two linear layers, the second run twice, with dropout between."""

    def __init__(self, repeat: str = "plain") -> None:
        super().__init__()
        self.first, self.second, self.drop = nn.Linear(4, 6), nn.Linear(6, 6), nn.Dropout(0.5)
        self.repeat = repeat

    def forward(self, x: Tensor) -> Tensor:
        if self.repeat == "plain":
            return self.inner(x)
        return checkpoint(self.inner, x, use_reentrant=self.repeat == "reentrant")

    def inner(self, x: Tensor) -> Tensor:
        return self.second(self.drop(torch.tanh(self.second(torch.relu(self.first(x))))))


def network(repeat: str = "plain") -> Network:
    return filled(Network(repeat))


def loss_of(model: nn.Module, x: Tensor) -> Tensor:
    return model(x).square().sum().sqrt()


def autograd(model: nn.Module, weights: list[Tensor], x: Tensor) -> tuple[Tensor, ...]:
    """What autograd gives for the weights in eval mode."""
    for weight in weights:
        weight.requires_grad_()
    return torch.autograd.grad(loss_of(model.eval(), x), weights)


@pytest.mark.parametrize("repeat", ["plain", "nonreentrant", "reentrant"])
@pytest.mark.parametrize("frozen", [True, False])
def test_the_factors_are_the_gradient_of_the_weight(repeat: str, frozen: bool) -> None:
    x = draw(2, 3, 4).requires_grad_(repeat == "reentrant")  # what reentrant checkpointing asks of a frozen model
    model = network(repeat).requires_grad_(not frozen)
    _, found = gradient_factors(model, NAMES, lambda: loss_of(model, x))
    expected = autograd(plain := network(), [plain.first.weight, plain.second.weight], x)
    for name, gradient in zip(NAMES, expected, strict=True):
        assert_close(found[name].dense(), gradient)
    assert found["second"].inputs.shape[0] == 12  # two calls on six vectors


def test_the_model_is_left_as_it_was() -> None:
    model = network()
    model.first.weight.requires_grad_(False)
    before, hooks = {name: p.requires_grad for name, p in model.named_parameters()}, dict(model.second._forward_hooks)
    gradient_factors(model.train(), ["second"], lambda: loss_of(model, draw(3, 4)))
    assert {name: p.requires_grad for name, p in model.named_parameters()} == before
    assert model.training and model.drop.training
    assert model.second._forward_hooks == hooks
    assert all(p.grad is None for p in model.parameters())


def test_the_loss_is_that_of_eval_mode_and_an_error_in_it_leaves_no_hooks() -> None:
    model, x = network(), draw(3, 4)
    value, _ = gradient_factors(model.train(), ["first"], lambda: loss_of(model, x))
    assert value == loss_of(model.eval(), x).item()
    with pytest.raises(ZeroDivisionError):
        gradient_factors(model, ["first"], lambda: loss_of(model, x) * (1 / 0))
    assert not model.first._forward_hooks
    assert model.first.weight.requires_grad


@pytest.mark.parametrize("method", [LoRA(rank=2), DoRA(rank=2)])
def test_an_adapter_on_the_layer_leaves_the_gradient_of_a_dense_change(method) -> None:
    model, x = network(), draw(3, 4)
    adaptation = moved(adapt(model, method, NAMES))
    _, found = gradient_factors(model, NAMES, lambda: loss_of(model, x))
    adaptation.merge()
    merged = network()
    merged.load_state_dict({k: v for k, v in model.state_dict().items() if "rankwise" not in k})
    expected = autograd(merged, [merged.first.weight, merged.second.weight], x)
    for name, gradient in zip(NAMES, expected, strict=True):
        assert_close(found[name].dense(), gradient)


def test_a_layer_that_peft_wrapped_gives_the_gradient_of_its_base_weight() -> None:
    x = draw(3, 4)
    model = get_peft_model(network(), LoraConfig(target_modules=NAMES, r=2))
    for name, parameter in model.named_parameters():
        if "lora" in name:
            parameter.data = draw(*parameter.shape)
    model = model.double()
    names = [f"base_model.model.{name}" for name in NAMES]
    _, found = gradient_factors(model, names, lambda: loss_of(model, x))
    bases = [model.base_model.model.get_submodule(name).base_layer.weight for name in NAMES]
    for name, gradient in zip(names, autograd(model, bases, x), strict=True):
        assert_close(found[name].dense(), gradient)


def test_a_4_bit_layer_above_passes_the_gradient_on_after_inference() -> None:
    # On processors with bfloat16 products a forward for inference rearranges its weight; then it gives no gradient.
    bitsandbytes = pytest.importorskip("bitsandbytes")
    lower, upper = filled(nn.Linear(64, 128), torch.float32), bitsandbytes.nn.Linear4bit(128, 64, bias=False)
    upper.weight = bitsandbytes.nn.Params4bit(draw(64, 128, dtype=torch.float32), quant_type="nf4")
    model, x = nn.Sequential(lower, upper.to("cpu")).eval(), draw(3, 64, dtype=torch.float32)
    rearrange = bitsandbytes.functional._convert_weight_packed_for_cpu
    upper.weight.data, upper.weight.quant_state = rearrange(upper.weight.data, upper.weight.quant_state)
    upper.support_avx512bf16_for_cpu = True
    _, found = gradient_factors(model, ["0"], lambda: model(x).square().sum())
    dense = dequantized(upper, upper.weight)
    (expected,) = torch.autograd.grad((lower(x) @ dense.T).square().sum(), lower.weight)
    torch.testing.assert_close(found["0"].dense().float(), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
    assert upper.support_avx512bf16_for_cpu


def test_what_follows_may_change_the_output_in_place() -> None:
    class InPlace(Network):
        def inner(self, x: Tensor) -> Tensor:
            return self.second(self.first(x).mul_(2.0)).add_(1.0)

    x, model = draw(3, 4), filled(InPlace())
    _, found = gradient_factors(model, NAMES, lambda: loss_of(model, x))
    expected = autograd(model, [model.first.weight, model.second.weight], x)
    assert_close(found["first"].dense(), expected[0])
    assert_close(found["second"].dense(), expected[1])


def test_a_block_of_rows_is_the_block_of_the_gradient() -> None:
    factors, rows = Factors(draw(3, 4), draw(3, 6, seed=1)), torch.tensor([4, 0])
    assert_close(factors.block(rows).dense(), factors.dense()[rows])


@pytest.mark.parametrize(
    ("build", "names", "error", "message"),
    [
        (network, ["frist"], TargetError, "no layer 'frist'. Did you mean first"),
        (lambda: network().half(), ["first"], ModelError, "'first' computes in float16"),
        (lambda: nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 3)), ["0"], ModelError, "'0', a Embedding"),
        (lambda: nn.Sequential(nn.LSTM(4, 3)), ["0"], ModelError, "'0', a LSTM, does not map vectors"),
    ],
)
def test_what_has_no_such_gradient_is_refused(build, names, error, message) -> None:
    model = build()
    embeds = isinstance(model, nn.Sequential) and isinstance(model[0], nn.Embedding)
    x = torch.tensor([[1, 2, 3, 4]]) if embeds else draw(3, 4).to(next(model.parameters()).dtype)
    with pytest.raises(error, match=message), torch.no_grad():
        gradient_factors(model, names, lambda: loss_of(model, x))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # torch's own remark on it
def test_a_layer_that_no_gradient_reaches_is_named() -> None:
    model, x = network("reentrant"), draw(3, 4)
    with pytest.raises(ModelError, match=r"no gradient reached 'second'.*use_reentrant=False"):
        gradient_factors(model, ["second"], lambda: loss_of(model, x))

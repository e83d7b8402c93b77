# SPDX-License-Identifier: Apache-2.0
"""PETALface: the worked example, its limits, one quality for each example on every kind of layer, and the gate."""

import runpy
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from random_layers import filled, moved
from rankwise import Adaptation, LoRA, Method, MethodError, StateError, adapt
from rankwise.adapters.petalface import PETALface, quality_gate
from rankwise.testing import assert_close

METHOD = PETALface(rank=2, scale=1.3, dropout=0.0)
QUALITY = torch.tensor([0.9, 0.1, 0.6], dtype=torch.float64)


@dataclass(frozen=True)
class Case:
    """A layer, the weights to adapt in it, and a batch of three examples along `batch_dim`."""

    layer: Callable[[], nn.Module]
    x: Tensor
    targets: tuple[str, ...] = ("weight",)
    batch_dim: int = 0

    def run(self, layer: nn.Module, x: Tensor | None = None) -> Tensor:
        x = self.x if x is None else x
        output = layer(x, x, x) if isinstance(layer, nn.MultiheadAttention) else layer(x)
        return output[0] if isinstance(output, tuple) else output


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float64)


CASES = {
    "linear": Case(lambda: nn.Linear(6, 5), draw(3, 6)),
    "tokens": Case(lambda: nn.Linear(6, 5), draw(3, 4, 6)),
    "sequence-first": Case(lambda: nn.Linear(6, 5, bias=False), draw(4, 3, 6), batch_dim=1),
    "windows": Case(lambda: nn.Linear(6, 5), draw(6, 4, 6)),  # two windows to an example
    "conv": Case(lambda: nn.Conv2d(4, 5, (3, 2), stride=(1, 2), padding=1), draw(3, 4, 6, 5)),
    "conv-grouped": Case(lambda: nn.Conv2d(6, 4, 3, groups=2), draw(3, 6, 4, 3)),
    "conv-transpose": Case(lambda: nn.ConvTranspose2d(4, 6, (2, 3), stride=2, groups=2), draw(3, 4, 3, 2)),
    "embedding": Case(lambda: nn.Embedding(7, 5, padding_idx=2), torch.tensor([[0, 2], [2, 4], [1, 6]])),
    "attention": Case(
        lambda: nn.MultiheadAttention(4, 2, batch_first=True), draw(3, 5, 4), ("in_proj_weight", "out_proj")
    ),
    "attention-sequence-first": Case(lambda: nn.MultiheadAttention(4, 2), draw(5, 3, 4), ("in_proj_weight",), 1),
    "lstm": Case(lambda: nn.LSTM(6, 4), draw(5, 3, 6), ("weight_ih_l0", "weight_hh_l0"), 1),
}


def made(case: Case) -> nn.Module:
    """The case's layer with all values random, the row at padding_idx included."""
    return filled(case.layer())


def adapted(name: str, method: Method = METHOD) -> tuple[nn.Module, Adaptation]:
    layer = made(CASES[name])
    return layer, moved(adapt(layer, method, list(CASES[name].targets)))


def at(quality: Tensor | float | list[float], layer: nn.Module, adaptation: Adaptation, x: Tensor) -> Tensor:
    """The output for a quality."""
    with adaptation.context(quality=quality):
        return layer(x)


def test_worked_example():
    layer = nn.Linear(1, 1).double()
    adaptation = adapt(layer, PETALface(rank=1, dropout=0.0), ["weight"])
    adapter = adaptation.adapters["weight"]
    with torch.no_grad():
        layer.weight.fill_(1)
        layer.bias.fill_(0)
        adapter.left.copy_(torch.tensor([[1.0, 2.0]]))
        adapter.right.fill_(1)
    with adaptation.context(quality=0.25):
        y = layer(torch.full((1, 1), 4.0, dtype=torch.float64))
        y.backward()
        adaptation.merge()
    assert y.item() == 9
    assert adapter.left.grad.tolist() == [[3, 1]]
    assert adapter.right.grad.tolist() == [[3], [2]]
    assert layer.weight.item() == 2.25


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_starts_at_the_base_to_the_bit_for_every_quality(case):
    layer = made(case)
    expected = case.run(layer)  # with gradients, as attention picks another kernel without
    adaptation = adapt(layer, PETALface(rank=2), list(case.targets))
    with adaptation.context(quality=QUALITY, batch_dim=case.batch_dim):
        assert torch.equal(case.run(layer), expected)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_batch_equals_one_by_one_and_the_weight_of_each_quality(case):
    layer = made(case)
    adaptation = moved(adapt(layer, METHOD, list(case.targets)))
    with adaptation.context(quality=QUALITY, batch_dim=case.batch_dim):
        together = case.run(layer)
    rows = case.x.shape[case.batch_dim] // 3
    for example, quality in enumerate(QUALITY.tolist()):
        x = case.x.narrow(case.batch_dim, example * rows, rows)
        part = together.narrow(case.batch_dim, example * rows, rows)
        with adaptation.context(quality=quality):
            assert_close(case.run(layer, x), part)
            adaptation.merge()
        assert_close(case.run(layer, x), part)
        adaptation.unmerge()


def test_a_forward_is_the_formula():
    layer, adaptation = adapted("tokens")
    adapter, x, a = adaptation.adapters["weight"], CASES["tokens"].x, QUALITY[:, None, None]
    up1, up2, down1, down2 = adapter.left[:, :2], adapter.left[:, 2:], adapter.right[:2], adapter.right[2:]
    low, high = F.linear(F.linear((1 - a) * x, down1), up1), F.linear(F.linear(a * x, down2), up2)
    expected = F.linear(x, layer.weight, layer.bias) + 1.3 * low + 1.3 * high
    assert_close(at(QUALITY, layer, adaptation, x), expected)


def test_a_permuted_batch_permutes_the_output():
    layer, adaptation = adapted("conv")
    order, x = torch.tensor([2, 0, 1]), CASES["conv"].x
    expected = at(QUALITY, layer, adaptation, x)[order]
    assert_close(at(QUALITY[order], layer, adaptation, x[order]), expected)


@pytest.mark.parametrize(("quality", "half"), [(0.0, slice(0, 2)), (1.0, slice(2, 4))])
def test_the_ends_of_the_scale_are_the_experts(quality, half):
    layer, adaptation = adapted("tokens")
    adapter, other = adaptation.adapters["weight"], made(CASES["tokens"])
    lora = adapt(other, LoRA(rank=2, alpha=2 * 1.3), ["weight"]).adapters["weight"]
    lora.load_state_dict({"left": adapter.left[:, half], "right": adapter.right[half]})
    assert_close(at(quality, layer, adaptation, CASES["tokens"].x), other(CASES["tokens"].x))


def test_tied_experts_ignore_the_quality():
    layer, adaptation = adapted("tokens")
    adapter = adaptation.adapters["weight"]
    with torch.no_grad():
        adapter.left[:, 2:] = adapter.left[:, :2]
        adapter.right[2:] = adapter.right[:2]
    outputs = [at(quality, layer, adaptation, CASES["tokens"].x) for quality in (0.0, 0.5, QUALITY)]
    assert_close(outputs[0], outputs[1])
    assert_close(outputs[0], outputs[2])


@settings(max_examples=20, deadline=None)
@given(start=st.floats(-1, 1), step=st.floats(0.1, 1))
def test_output_is_affine_in_the_quality(start, step):
    layer, adaptation = adapted("linear")
    low, middle, high = (at(start + i * step, layer, adaptation, CASES["linear"].x) for i in range(3))
    assert_close(low + high, 2 * middle)
    assert not torch.allclose(low, high)


def test_gradients_are_weighed_and_do_not_reach_the_score():
    layer, adaptation = adapted("tokens")
    adapter, quality = adaptation.adapters["weight"], torch.zeros(3, requires_grad=True)
    at(quality, layer, adaptation, CASES["tokens"].x).square().sum().backward()
    assert quality.grad is None
    assert not adapter.left.grad[:, 2:].any()
    assert not adapter.right.grad[2:].any()
    assert adapter.left.grad[:, :2].any()
    assert adapter.right.grad[:2].any()


@pytest.mark.parametrize("name", ["tokens", "conv-grouped", "attention", "lstm"])
def test_gradients_equal_finite_differences(name):
    layer, adaptation = adapted(name)
    with adaptation.context(quality=QUALITY, batch_dim=CASES[name].batch_dim):
        parameters = list(adaptation.parameters())
        torch.autograd.gradcheck(lambda *_: CASES[name].run(layer), parameters, fast_mode=True)


def test_parameter_count():
    layer = nn.Linear(384, 3 * 384)
    assert adapt(layer, PETALface(rank=8), ["weight"]).summary().trainable == 2 * 8 * (384 + 3 * 384)


@pytest.mark.parametrize("quality", [QUALITY[:, None], QUALITY.tolist()], ids=["column", "list"])
def test_quality_may_be_a_vector_a_column_or_a_list(quality):
    layer, adaptation = adapted("tokens")
    x = CASES["tokens"].x
    assert torch.equal(at(quality, layer, adaptation, x), at(QUALITY, layer, adaptation, x))


def test_a_batch_of_one_works_where_weights_are_read():
    layer, adaptation = adapted("attention")
    outputs = []
    for quality in (QUALITY[:1], QUALITY[0].item()):
        with adaptation.context(quality=quality):
            outputs.append(CASES["attention"].run(layer, CASES["attention"].x[:1]))
    assert torch.equal(*outputs)


def test_mixed_batch_with_another_method_equals_one_by_one():
    for name in ("tokens", "conv", "attention"):
        layer, adaptation = adapted(name)
        case = CASES[name]
        moved(adapt(layer, LoRA(rank=2), list(case.targets), name="other"))
        names = ["other", "default", None]
        for order in (names, names[::-1], ["default", "other", "default"]):
            with adaptation.context(order, quality=QUALITY):
                together = case.run(layer)
            for example, adapter in enumerate(order):
                with adaptation.context([adapter], quality=QUALITY[example].item()):
                    assert_close(case.run(layer, case.x[example : example + 1]), together[example : example + 1])


def test_recomputation_outside_the_context_is_refused():
    layer, adaptation = adapted("tokens")
    with adaptation.context(quality=QUALITY):
        late = checkpoint(layer, CASES["tokens"].x, use_reentrant=False).square().sum()
    with pytest.raises(StateError, match="backward"):
        late.backward()


@pytest.mark.parametrize("name", ["tokens", "attention"])
def test_a_missing_quality_is_refused(name):
    layer, adaptation = adapted(name)
    with pytest.raises(StateError, match="'quality'"):
        CASES[name].run(layer)
    with pytest.raises(StateError, match="'quality'"):
        adaptation.merge()
    with pytest.raises(StateError, match="differs between examples"), adaptation.context(quality=QUALITY):
        adaptation.merge()
    assert not adaptation.merged


def test_a_quality_that_does_not_fit_the_batch_is_refused():
    layer, adaptation = adapted("tokens")
    with pytest.raises(StateError, match="2 examples"):
        at(QUALITY[:2], layer, adaptation, CASES["tokens"].x)
    with pytest.raises(StateError, match="counts features"):
        at(QUALITY[:2], layer, adaptation, CASES["tokens"].x[0, 0])
    with adaptation.context(quality=QUALITY, batch_dim=1), pytest.raises(StateError, match="counts features"):
        layer(CASES["linear"].x)


class Outside(nn.Module):
    """Reads its child's weight without calling the child."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.attention.in_proj_weight.t()


def test_a_weight_read_outside_its_module_has_one_value():
    model, x = Outside().double(), draw(3, 4)
    adaptation = moved(adapt(model, METHOD, ["in_proj_weight"]))
    moved(adapt(model, LoRA(rank=2), ["in_proj_weight"], name="other"))
    with adaptation.context(quality=QUALITY), pytest.raises(StateError, match="differs between examples"):
        model(x)
    with adaptation.context(["other", None, "default"], quality=0.5), pytest.raises(StateError, match="outside"):
        model(x)


def test_converts_exactly_for_one_quality():
    layer, adaptation = adapted("tokens")
    expected = at(0.3, layer, adaptation, CASES["tokens"].x).detach()
    with adaptation.context(quality=0.3):
        conversion = adaptation.convert(LoRA(rank=4))
    assert_close(layer(CASES["tokens"].x), expected)
    assert conversion.relative_error["weight"] < 1e-12


def test_dropout_acts_on_the_bottleneck():
    layer, adaptation = adapted("linear", PETALface(rank=1, dropout=0.25))
    x, base = draw(400, 6), made(CASES["linear"])
    with adaptation.context(quality=0.0), torch.random.fork_rng():
        torch.manual_seed(0)
        full, dropped = layer.eval()(x) - base(x), layer.train()(x) - base(x)
    kept = (dropped.abs() > 1e-9).all(dim=1)
    assert_close(dropped, full / 0.75 * kept[:, None])  # one active rank: a token's whole change stays or goes
    assert 0.65 < kept.double().mean().item() < 0.85


def test_starts_have_the_stated_spread_and_follow_the_seed():
    layers, method = [nn.Linear(200, 100) for _ in range(3)], PETALface(rank=4, init_up_std=0.02)
    starts = [adapt(layers[i], method, ["weight"], seed=seed).adapters["weight"] for i, seed in enumerate((0, 0, 1))]
    assert abs(starts[0].right.std().item() - 1 / 4) < 0.01
    assert abs(starts[0].left.std().item() - 0.02) < 0.002
    assert torch.equal(starts[0].right, starts[1].right)
    assert not torch.equal(starts[0].right, starts[2].right)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": 0}, "at least 1"),
        ({"scale": 0.0}, "above 0"),
        ({"dropout": 1.0}, r"\[0, 1\)"),
        ({"init_up_std": -0.1}, "at least 0"),
    ],
)
def test_fields_out_of_range_are_refused(fields, message):
    with pytest.raises(MethodError, match=message):
        PETALface(**fields)


def test_the_gate_of_the_worked_example():
    scores = torch.tensor([0.10, 0.35, 0.5, 0.62, 0.99, 1.4], dtype=torch.float64)
    free = torch.tensor([0.05, 0.30, 0.45, 0.57, 0.94, 1.35], dtype=torch.float64)
    assert_close(quality_gate(scores, 0.55, clip=False), free)
    assert_close(quality_gate(scores, 0.55), free.clamp(max=1))


@settings(max_examples=50, deadline=None)
@given(scores=st.lists(st.floats(-100, 100), min_size=1, max_size=8), slope=st.floats(0.01, 10))
def test_the_gate_is_monotone_and_bounded_and_carries_no_gradient(scores, slope):
    ordered = torch.tensor(sorted(scores), requires_grad=True)
    quality = quality_gate(ordered, threshold=1.0, slope=slope)
    assert not quality.requires_grad
    assert bool((quality.diff() >= 0).all())
    assert bool(((quality >= 0) & (quality <= 1)).all())
    assert_close(quality_gate(ordered, threshold=1.0, slope=-slope), 1 - quality)


def test_the_gate_refuses_scores_that_are_not_finite():
    with pytest.raises(MethodError, match="finite"):
        quality_gate(torch.tensor([0.2, float("nan")]), 0.5)


def test_the_true_gate_fits_what_one_adapter_cannot():
    """A goal that moves from one matrix to another with the quality; all adapters have as many parameters."""
    generator = torch.Generator().manual_seed(0)
    base, low, high = (torch.randn(16, 16, generator=generator, dtype=torch.float64) / 2 for _ in range(3))
    low, high = low[:, :2] @ low[:2], high[:, :2] @ high[:2]
    x, quality = torch.randn(300, 16, generator=generator).double(), torch.rand(300, generator=generator).double()
    goal = x @ base.t() + (1 - quality)[:, None] * (x @ low.t()) + quality[:, None] * (x @ high.t())
    shuffled = quality[torch.randperm(300, generator=generator)]
    twin = PETALface(rank=2, dropout=0.0)
    true, single = fitted(base, x, goal, twin, quality), fitted(base, x, goal, LoRA(rank=4))
    constant, wrong = fitted(base, x, goal, twin, 0.5), fitted(base, x, goal, twin, shuffled)
    assert true < 1e-10
    assert single > 0.1
    assert abs(constant - single) < 1e-4 * single
    assert wrong > 1.1 * single


def fitted(base: Tensor, x: Tensor, goal: Tensor, method: Method, quality: Tensor | float | None = None) -> float:
    """The mean squared error that training reaches."""
    layer = nn.Linear(16, 16, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(base)
    adaptation = adapt(layer, method, ["weight"])
    parameters = list(adaptation.parameters())
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=100, history_size=20, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.mse_loss(layer(x), goal)
        value.backward()
        return value

    with nullcontext() if quality is None else adaptation.context(quality=quality):
        optimizer.step(loss)
        return loss().item()


@pytest.mark.slow
def test_the_gate_keeps_what_a_single_adapter_forgets():
    """PETALface of rank 6 against a LoRA of rank 12 on sharp digits and mirrored ones with a quarter of the pixels."""
    script = Path(__file__).parents[2] / "benchmarks" / "petalface_digits.py"
    found = {name: mean for name, (mean, _) in runpy.run_path(str(script))["measure"](rank=6, seeds=4).items()}
    base, twin, single = found["base"], found["PETALface, rank 6"], found["LoRA, rank 12"]
    assert base.low < 0.3
    assert single.low > 0.8
    assert twin.sharp > single.sharp + 0.015
    assert twin.low > single.low - 0.01

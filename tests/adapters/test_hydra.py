# SPDX-License-Identifier: Apache-2.0
"""Hydra: the worked example, the formula, its limits LoRA and the sequential head alone, merging and conversion."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from random_layers import filled, moved
from rankwise import Adaptation, LoRA, MethodError, TargetError, adapt, load
from rankwise.adapters.hydra import Hydra
from rankwise.testing import TOLERANCE, assert_close

BOTH = Hydra(rank_parallel=1, rank_sequential=2, scale=1.7)
BIASED = Hydra(rank_parallel=1, rank_sequential=2, scale=1.7, branch_bias=True)


@dataclass(frozen=True)
class Case:
    """A layer, the weights to adapt in it, and an input."""

    layer: Callable[[], nn.Module]
    x: Tensor
    targets: tuple[str, ...] = ("weight",)
    biased: bool = True  # whether every adapted weight has a bias

    def run(self, layer: nn.Module) -> Tensor:
        if isinstance(layer, nn.MultiheadAttention):
            return layer(self.x, self.x, self.x, need_weights=False)[0]
        output = layer(self.x)
        return output[0] if isinstance(output, tuple) else output


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float64)


CASES = {
    "linear": Case(lambda: nn.Linear(6, 5), draw(3, 2, 6)),
    "linear-no-bias": Case(lambda: nn.Linear(6, 5, bias=False), draw(3, 6), biased=False),
    "conv-1x1": Case(lambda: nn.Conv2d(4, 5, 1), draw(3, 4, 3, 2)),
    "conv": Case(lambda: nn.Conv2d(4, 5, (3, 2), stride=(1, 2), padding=1, padding_mode="circular"), draw(3, 4, 6, 5)),
    "conv-unbatched": Case(lambda: nn.Conv1d(4, 5, 3), draw(4, 6)),
    "conv-transpose": Case(lambda: nn.ConvTranspose2d(4, 6, (2, 3), stride=2, output_padding=1), draw(3, 4, 3, 2)),
    "embedding": Case(lambda: nn.Embedding(7, 5, padding_idx=2), torch.tensor([[0, 2, 6], [2, 4, 1]]), biased=False),
    "attention": Case(
        lambda: nn.MultiheadAttention(4, 2, batch_first=True), draw(3, 5, 4), ("in_proj_weight", "out_proj")
    ),
    "lstm": Case(lambda: nn.LSTM(6, 4), draw(5, 3, 6), ("weight_ih_l0", "weight_hh_l0")),
}


def made(case: Case) -> nn.Module:
    """The case's layer with all values random, the row at padding_idx included."""
    return filled(case.layer())


def linear(method: Hydra, bias: bool = True, dtype: torch.dtype = torch.float64) -> tuple[nn.Linear, Adaptation]:
    layer = made(Case(lambda: nn.Linear(6, 5, bias=bias), draw(1))).to(dtype)
    return layer, moved(adapt(layer, method, ["weight"]))


def formula(layer: nn.Linear, adaptation: Adaptation, x: Tensor) -> Tensor:
    """The two heads written out, for a linear layer."""
    adapter, method = adaptation.adapters["weight"], adaptation.method
    r, s = method.rank_parallel, method.scale
    h = x @ layer.weight.t() + (0 if layer.bias is None else layer.bias)
    parallel, sequential = x @ adapter.parallel.t(), h @ adapter.sequential.t()
    e = (0, 0)
    if method.branch_bias:
        parallel, sequential, e = parallel + adapter.down_bias[:r], sequential + adapter.down_bias[r:], adapter.up_bias
    left = adapter.left
    return h + s * (parallel @ left[:, :r].t() + e[0]) + s * (sequential @ left[:, r:].t() + e[1])


def test_worked_example():
    layer = nn.Linear(2, 1).double()
    adaptation = adapt(layer, Hydra(rank_parallel=1, rank_sequential=1), ["weight"])
    adapter = adaptation.adapters["weight"]
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0]]))
        layer.bias.fill_(3)
        adapter.parallel.copy_(torch.tensor([[1.0, 0.0]]))
        adapter.sequential.fill_(1)
        adapter.left.copy_(torch.tensor([[2.0, 0.5]]))
    y = layer(torch.ones(1, 2, dtype=torch.float64))
    y.backward()
    assert y.item() == 11  # 9.5 if the sequential head did not read the bias
    assert adapter.left.grad.tolist() == [[1, 6]]
    assert adapter.parallel.grad.tolist() == [[2, 2]]
    assert adapter.sequential.grad.tolist() == [[3]]
    adaptation.merge()
    assert layer.weight.tolist() == [[3.5, 3]]
    assert layer.bias.tolist() == [4.5]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_starts_at_the_base_to_the_bit(case):
    layer = made(case)
    trained = case.run(layer)
    layer.requires_grad_(False)  # attention picks another kernel where gradients are wanted
    expected = case.run(layer)
    adapt(layer, BOTH, list(case.targets))
    with torch.no_grad():
        assert torch.equal(case.run(layer), expected)
    assert torch.equal(case.run(layer), trained)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("method", [BOTH, BIASED])
def test_forward_is_the_formula(method, bias):
    layer, adaptation = linear(method, bias)
    x = draw(3, 2, 6)
    assert_close(layer(x), formula(layer, adaptation, x))
    with torch.no_grad():  # another code path: the layer's output is overwritten
        assert_close(layer(x), formula(layer, adaptation, x))


MERGED = [(name, method) for name, case in CASES.items() for method in ([BOTH, BIASED] if case.biased else [BOTH])]


@pytest.mark.parametrize(("name", "method"), MERGED)
def test_merge_equals_forward_and_unmerge_is_exact(name, method):
    case = CASES[name]
    layer = made(case)
    base = {key: value.clone() for key, value in layer.state_dict().items()}
    adaptation = moved(adapt(layer, method, list(case.targets)))
    adapted = case.run(layer)
    adaptation.merge()
    assert_close(case.run(layer), adapted)
    assert any(not torch.equal(dict(layer.named_parameters())[key], value) for key, value in base.items())
    adaptation.unmerge()
    assert all(torch.equal(dict(layer.named_parameters())[key], value) for key, value in base.items())


def test_without_the_sequential_head_it_is_lora():
    x = draw(3, 2, 6)
    layer, adaptation = linear(Hydra(rank_parallel=2, rank_sequential=0, scale=0.5))
    adapter = adaptation.adapters["weight"]
    other = made(CASES["linear"])
    lora = adapt(other, LoRA(rank=2, alpha=1.0), ["weight"]).adapters["weight"]
    lora.load_state_dict({"left": adapter.left, "right": adapter.parallel})
    assert_close(layer(x), other(x))
    assert adapter.sequential is None
    assert adapter.bias_delta() is None


def test_without_the_parallel_head_it_recombines_outputs():
    x = draw(3, 2, 6)
    layer, adaptation = linear(Hydra(rank_parallel=0, rank_sequential=2, scale=0.5))
    adapter, h = adaptation.adapters["weight"], F.linear(x, layer.weight, layer.bias)
    mixing = torch.eye(5, dtype=torch.float64) + 0.5 * adapter.left @ adapter.sequential
    assert_close(layer(x), h @ mixing.t())


@pytest.mark.parametrize(
    ("shape", "method", "count"),
    [
        ((768, 768), Hydra(2, 2, branch_bias=True), 4 * 768 + 770 + 4 * 768 + 770),  # ViT-B/16, attention projection
        ((3072, 768), Hydra(2, 2, branch_bias=True), 8450 + 3842),  # ViT-B/16, second layer of the MLP
        ((3072, 768), Hydra(4, 8), 331_776 // 12),  # RoBERTa-base, output of the MLP
    ],
)
def test_parameter_count(shape, method, count):
    assert adapt(nn.Linear(*shape), method, ["weight"]).summary().trainable == count


@pytest.mark.parametrize("name", ["linear", "conv", "embedding", "attention"])
def test_gradients_equal_finite_differences(name):
    case = CASES[name]
    layer = made(case)
    adaptation = moved(adapt(layer, BOTH if name == "embedding" else BIASED, list(case.targets)))
    torch.autograd.gradcheck(lambda *_: case.run(layer), list(adaptation.parameters()), fast_mode=True)


def test_gradient_reaches_the_input_through_both_heads_and_not_the_base():
    layer, adaptation = linear(BOTH)
    x = draw(3, 2, 6).requires_grad_(True)
    weight = layer.weight.detach().requires_grad_(True)
    layer(x).square().sum().backward()
    (expected,) = torch.autograd.grad(formula(layer, adaptation, x).square().sum(), x)
    assert_close(x.grad, expected)
    assert layer.weight.grad is None
    assert weight.grad is None


@settings(max_examples=20, deadline=None)
@given(ranks=st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(any), sizes=st.tuples(*[st.integers(3, 7)] * 2))
def test_rank_and_row_space_of_the_delta(ranks, sizes):
    layer = nn.Linear(sizes[0], sizes[1]).double()
    adapter = moved(adapt(layer, Hydra(*ranks), ["weight"])).adapters["weight"]
    delta, w = adapter.delta().detach(), layer.weight.detach()
    assert torch.linalg.matrix_rank(delta, rtol=1e-9) <= sum(ranks)
    parallel = 0 if adapter.parallel is None else adapter.left[:, : ranks[0]] @ adapter.parallel
    sequential = (delta - parallel).detach()
    assert_close(sequential @ torch.linalg.pinv(w) @ w, sequential)  # inside the row space of W0


def test_converts_exactly_into_a_lora_with_a_bias_shift():
    x = draw(3, 2, 6)
    layer, adaptation = linear(BOTH)
    expected = layer(x).detach()
    conversion = adaptation.convert(LoRA(rank=3, bias=True))
    assert_close(layer(x), expected)
    assert conversion.relative_error["weight"] < 1e-12


def test_conversion_without_a_bias_is_refused():
    _, adaptation = linear(BOTH)
    with pytest.raises(MethodError, match="bias=True"):
        adaptation.convert(LoRA(rank=3))


def test_reads_the_base_output_beside_a_merged_adapter():
    x = draw(3, 2, 6)
    layer, _ = linear(BIASED)
    other = moved(adapt(layer, LoRA(rank=2, bias=True), ["weight"], name="other"))
    expected = layer(x).detach()
    other.merge()
    assert_close(layer(x), expected)


def test_mixed_batch_equals_one_by_one():
    x = draw(3, 2, 6)
    layer, adaptation = linear(BIASED)
    moved(adapt(layer, LoRA(rank=2), ["weight"], name="other"))
    names = ["default", None, "other"]
    with adaptation.context(adapters=names):
        together = layer(x)
    for example, name in enumerate(names):
        with adaptation.context(adapters=[name]):
            assert_close(together[example], layer(x[example]))


def test_dropout_acts_on_the_bottleneck():
    layer, _ = linear(Hydra(rank_parallel=1, rank_sequential=0, dropout=0.25))
    x, base = draw(400, 6), nn.Linear(6, 5).double()
    base.load_state_dict({key: layer.state_dict()[key] for key in ("weight", "bias")})
    full = layer.eval()(x) - base(x)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dropped = layer.train()(x) - base(x)
    kept = (dropped.abs() > 1e-9).all(dim=1)
    assert_close(dropped, full / 0.75 * kept[:, None])  # one rank: a token's whole change stays or goes
    assert 0.65 < float(kept.double().mean()) < 0.85


def test_starts_differ_and_follow_the_seed():
    spread = {"kaiming": 1 / 64**0.5, "xavier": (6 / 72) ** 0.5}
    for init, bound in spread.items():
        start = adapt(nn.Linear(64, 32), Hydra(8, 8, init=init), ["weight"]).adapters["weight"].parallel.detach()
        assert 0.95 * bound < float(start.abs().max()) <= bound
    normal = [adapt(nn.Linear(64, 32), Hydra(8, 8, init="normal"), ["weight"], seed=s) for s in (0, 0, 1)]
    first, same, other = (one.adapters["weight"].sequential.detach() for one in normal)
    assert 0.015 < float(first.std()) < 0.025
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_half_precision_base_keeps_its_dtype():
    layer, adaptation = linear(BIASED, dtype=torch.bfloat16)
    assert {p.dtype for p in adaptation.parameters()} == {torch.float32}
    x = draw(3, 2, 6).to(torch.bfloat16)
    adaptation.merge()
    merged = layer(x)
    adaptation.unmerge()
    adapted = layer(x)
    assert adapted.dtype == torch.bfloat16
    rounding, _ = TOLERANCE[torch.bfloat16]
    assert float((adapted - merged).detach().abs().max()) < rounding * float(merged.abs().max())


def test_save_and_load(tmp_path):
    layer, adaptation = linear(BIASED)
    adaptation.save(tmp_path / "hydra")
    fresh = made(CASES["linear"])
    load(fresh, tmp_path / "hydra")
    assert torch.equal(fresh(CASES["linear"].x), layer(CASES["linear"].x))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank_parallel": 0, "rank_sequential": 0}, "leaves no head"),
        ({"rank_parallel": -1}, "at least 0"),
        ({"scale": 0.0}, "above 0"),
        ({"dropout": 1.0}, r"\[0, 1\)"),
    ],
)
def test_fields_out_of_range_are_refused(fields, message):
    with pytest.raises(MethodError, match=message):
        Hydra(**fields)


def test_grouped_convolutions_take_the_parallel_head_only():
    layer, x = nn.Conv2d(6, 4, 3, groups=2).double(), draw(3, 6, 5, 4)
    with pytest.raises(TargetError, match="rank_sequential=0"):
        adapt(layer, BOTH, ["weight"])
    adaptation = moved(adapt(layer, Hydra(rank_parallel=2, rank_sequential=0, branch_bias=True), ["weight"]))
    expected = layer(x)
    adaptation.merge()
    assert_close(layer(x), expected)


@pytest.mark.parametrize(
    "layer", [nn.Embedding(7, 5), nn.MultiheadAttention(4, 2, bias=False), nn.Bilinear(4, 5, 4)], ids=type
)
def test_branch_biases_need_a_place(layer):
    with pytest.raises(TargetError, match="would be lost"):
        adapt(layer, BIASED, r"(in_proj_)?weight")
    adapt(layer, BOTH, r"(in_proj_)?weight")


def test_merging_branch_biases_without_a_bias_is_refused():
    layer, adaptation = linear(BIASED, bias=False)
    before = layer.weight.clone()
    with pytest.raises(TargetError, match="zero bias"):
        adaptation.merge()
    assert torch.equal(layer.weight, before)


def test_both_heads_fit_what_neither_fits_alone():
    """A goal whose output features are recombined ones of the base, and the same plus one new feature."""
    generator = torch.Generator().manual_seed(0)
    base, recombination, new = (
        torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((16, 64), (16, 3), (16, 1))
    )
    base, second = base / 8, torch.randn(3, 16, generator=generator, dtype=torch.float64) / 16
    recombined = base + recombination @ second @ base
    both = recombined + new @ torch.randn(1, 64, generator=generator, dtype=torch.float64) / 8
    assert fitted(base, recombined, Hydra(0, 3)) < 1e-6  # 96 numbers
    assert fitted(base, recombined, LoRA(rank=2)) > 0.01  # 160
    assert fitted(base, both, Hydra(1, 3)) < 1e-6  # 176
    assert fitted(base, both, Hydra(0, 3)) > 0.1
    assert fitted(base, both, LoRA(rank=3)) > 0.01  # 240


def fitted(base: Tensor, goal: Tensor, method: Hydra | LoRA) -> float:
    """The mean squared error that training reaches, for inputs whose covariance is exactly the identity."""
    layer = nn.Linear(64, 16, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(base)
    parameters = list(adapt(layer, method, ["weight"]).parameters())
    x = 8 * torch.eye(64, dtype=torch.float64)
    optimizer = torch.optim.LBFGS(parameters, max_iter=60, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.mse_loss(layer(x), x @ goal.t())
        value.backward()
        return value

    optimizer.step(loss)
    return loss().item()

# SPDX-License-Identifier: Apache-2.0
"""SNELL on layers: what they compute and keep, and what it can express."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from dense_kernels import KERNELS, SPARSIFIERS, dense_kernel, dense_sparse, points
from random_layers import assert_gradients_are_those_of, assert_starts_at_the_base_and_runs_as, draw, filled, moved, on
from rankwise import LoRA, MethodError, adapt, load
from rankwise.adapters.kernelized import generated
from rankwise.adapters.kernels import Points, Rule
from rankwise.adapters.snell import SNELL
from rankwise.testing import TOLERANCE, assert_close
from rankwise.testing.layers import Experts

STEEP = {"rank": 4, "coefficient": 1.0, "sparsity": 0.4}  # entries of about 1, so that differences show


def update(adapter, method: SNELL) -> Tensor:
    """The delta in canonical shape, from the formulas above."""

    def of(p: Tensor, q: Tensor, mix: Tensor | None) -> Tensor:
        values = dense_kernel(p, q, mix, method.kernel, method.coefficient)
        return dense_sparse(values, method.sparsifier, method.sparsity)

    total = of(adapter.p, adapter.q, adapter.mix)
    if method.subtract_start:
        total = total - of(adapter.p0, adapter.q0, adapter.mix0)
    return total.mT.reshape(adapter.target.shape)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("sparsifier", SPARSIFIERS)
def test_a_linear_layer_computes_with_the_update_in_value_and_gradient(kernel: str, sparsifier: str) -> None:
    method = SNELL(kernel=kernel, sparsifier=sparsifier, **STEEP)
    layer, _, adapter = on(nn.Linear(7, 6), method)
    assert_close(adapter.delta(), update(adapter, method))
    assert_gradients_are_those_of(lambda one: update(one, method), nn.Linear(7, 6), draw(3, 2, 7), method)
    x = draw(4, 7, seed=8)
    expected = x @ (layer.weight + update(adapter, method)).t() + layer.bias
    assert_close(layer(x), expected)
    with torch.no_grad():
        assert_close(layer(x), expected)


LAYERS = {
    "linear": (lambda: nn.Linear(7, 6), draw(4, 3, 7)),
    "conv": (lambda: nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=1), draw(2, 4, 6, 5)),
    "conv-grouped": (lambda: nn.Conv1d(6, 4, 3, groups=2), draw(2, 6, 8)),
    "embedding": (lambda: nn.Embedding(9, 4), torch.tensor([[0, 3, 8], [3, 1, 5]])),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_without_its_start_it_begins_at_the_base_on_every_layer(layer: str) -> None:
    build, x = LAYERS[layer]
    method = SNELL(subtract_start=True, kernel="mixed", **STEEP)
    assert_starts_at_the_base_and_runs_as(lambda one: update(one, method), build(), x, method)
    if x.is_floating_point():
        assert_gradients_are_those_of(lambda one: update(one, method), build(), x, method)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("start", [False, True])
def test_a_weight_of_several_blocks_has_the_gradients_of_one(kernel: str, start: bool, monkeypatch) -> None:
    method = SNELL(kernel=kernel, subtract_start=start, **STEEP)
    monkeypatch.setattr("rankwise.adapters.kernels._BLOCK", 20)  # three rows of six outputs
    assert len(list(on(nn.Linear(7, 6), method)[2]._points()[0].blocks())) == 3
    assert_gradients_are_those_of(lambda one: update(one, method), nn.Linear(7, 6), draw(3, 2, 7), method)
    convolution = nn.Conv1d(3, 6, 2)
    assert_gradients_are_those_of(lambda one: update(one, method), convolution, draw(2, 3, 5), method)


def test_every_matrix_of_a_stack_has_a_threshold_of_its_own() -> None:
    stack, method = Experts(3, 4, 6).double(), SNELL(kernel="mixed", **STEEP)
    with torch.no_grad():
        stack.up_proj.copy_(draw(3, 4, 6))
    adapter = moved(adapt(stack, method, ["up_proj"])).adapters["up_proj"]
    assert adapter.p.shape == (3, 2, 6, 2) and adapter.q.shape == (3, 2, 4, 2) and adapter.mix.shape == (3, 3)
    delta = adapter.delta()
    assert (delta != 0).sum((1, 2)).tolist() == [14, 14, 14]  # 24 - ceil(0.4 * 23)
    assert_close(delta, update(adapter, method))
    weights, tensors = draw(3, 4, 6, seed=9), list(adapter.parameters())
    actual = torch.autograd.grad((delta * weights).sum(), tensors)
    expected = torch.autograd.grad((update(adapter, method) * weights).sum(), tensors)
    for mine, other in zip(actual, expected, strict=True):
        assert_close(mine, other)


def test_points_that_coincide_get_no_gradient_from_each_other() -> None:
    p = draw(1, 3, 2).requires_grad_()
    q = torch.cat([p.detach()[:, :1], draw(1, 1, 2, seed=4)], dim=1).requires_grad_()
    found = torch.autograd.grad(generated(Rule("piecewise", "none", (1.0,)), Points(p, q, None, 1))[0, 0], (p, q))
    assert not any(bool(one.any()) for one in found)


def test_near_points_keep_their_distance_in_float32() -> None:
    p = (torch.ones(1, 1, 4) * 100).double()
    q = p + 1e-3 * draw(1, 40, 4)
    rule = Rule("piecewise", "none", (1.0,))
    narrow = generated(rule, Points(p.float(), q.float(), None, 1))
    assert_close(narrow, generated(rule, Points(p.float().double(), q.float().double(), None, 1)).float())


@pytest.mark.parametrize("kernel", ["piecewise", "mixed"])
def test_a_linear_layer_keeps_its_input_the_points_and_the_threshold(kernel: str) -> None:
    layer, _, adapter = on(nn.Linear(30, 20), SNELL(rank=4, kernel=kernel, subtract_start=True))
    kept: list[tuple[int, ...]] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(tuple(t.shape)), t)[1], lambda t: t):
        layer(draw(5, 30))
    mix = [(3,)] if kernel == "mixed" else []
    assert sorted(kept) == sorted([(5, 30), tuple(adapter.p.shape), tuple(adapter.q.shape), *mix, (1, 1), (1, 1)])


def test_the_kernel_is_of_full_rank_where_lora_is_not() -> None:
    """Singular values above 1e-4 of the largest one, the update of LoRA's size beside it."""
    ranks = {}
    for name, method in {
        "lora": LoRA(rank=8),
        "linear": SNELL(rank=8, kernel="linear", sparsifier="none"),
        "piecewise": SNELL(rank=8, sparsifier="none"),
        "sparse": SNELL(rank=8, sparsity=0.5),
    }.items():
        values = torch.linalg.svdvals(on(nn.Linear(128, 128), method)[2].delta().detach())
        ranks[name] = int((values > 1e-4 * values[0]).sum())
    assert ranks["lora"] == ranks["linear"] == 8
    assert ranks["piecewise"] > 120
    assert ranks["sparse"] == 128


def test_inner_products_without_sparsifier_are_lora() -> None:
    x, layers = draw(5, 7), [filled(nn.Linear(7, 6)) for _ in range(2)]
    mine = moved(adapt(layers[0], SNELL(rank=4, kernel="linear", sparsifier="none"), ["weight"])).adapters["weight"]
    lora = adapt(layers[1], LoRA(rank=4, alpha=4), ["weight"]).adapters["weight"]
    with torch.no_grad():
        lora.right.copy_(mine.p.movedim(-1, 1).reshape(4, 7))
        lora.left.copy_(torch.cat([0.1 * mine.q[0], -0.1 * mine.q[1]], dim=1))
    assert_close(layers[0](x), layers[1](x))
    for layer in layers:
        layer(x).sin().sum().backward()
    assert_close(mine.p.grad.movedim(-1, 1).reshape(4, 7), lora.right.grad)


def test_the_mixed_kernel_without_its_softmax_is_the_piecewise_one() -> None:
    one, coefficients = points(6, 5, mixed=True), (0.1, -0.1)
    plain = generated(Rule("piecewise", "none", coefficients), one._replace(mix=None))
    off = one._replace(mix=torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64))
    assert_close(generated(Rule("mixed", "none", coefficients), off), plain + 0.5)


def test_it_starts_at_the_published_size() -> None:
    """Root mean squares of a 768 x 768 update at rank 32, as measured from the published code."""
    sizes = {}
    for kernel, sparsifier in itertools.product(("piecewise", "mixed"), ("none", "code")):
        method = SNELL(rank=32, sparsity=0.0, kernel=kernel, sparsifier=sparsifier)
        adapter = adapt(nn.Linear(768, 768), method, ["weight"]).adapters["weight"]
        assert float(adapter.p.detach().abs().max()) <= 1 / (768 * 16) ** 0.5
        with torch.no_grad():
            sizes[kernel, sparsifier] = float(adapter.delta().square().mean().sqrt())
    assert sizes["piecewise", "none"] == pytest.approx(6.2e-4, rel=0.05)
    assert sizes["mixed", "none"] == pytest.approx(1.5e-3, rel=0.05)
    assert sizes["piecewise", "code"] == pytest.approx(7e-7, rel=0.1)
    assert sizes["mixed", "code"] == pytest.approx(2.7e-6, rel=0.1)


def test_it_has_the_parameters_of_lora() -> None:
    layers = [nn.Linear(30, 20), nn.Linear(20, 10)]
    assert adapt(nn.Sequential(*layers), SNELL(rank=6)).summary().trainable == 6 * (50 + 30)
    mixed = SNELL(rank=6, kernel="mixed")
    assert adapt(nn.Sequential(nn.Linear(30, 20)), mixed).summary().trainable == 6 * 50 + 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merging_and_loading_keep_the_function(dtype: torch.dtype, tmp_path) -> None:
    method, x = SNELL(kernel="mixed", subtract_start=True, **STEEP), draw(4, 7, dtype=dtype)
    model = nn.Sequential(filled(nn.Linear(7, 6), dtype))
    adaptation = moved(adapt(model, method, ["0"]))
    output = model(x)
    adaptation.save(tmp_path)
    fresh = nn.Sequential(filled(nn.Linear(7, 6), dtype))
    load(fresh, tmp_path)
    assert torch.equal(fresh(x), output)
    adaptation.merge()
    error = (model(x) - output).detach().abs().max()
    assert float(error) <= TOLERANCE[dtype][0] * float(output.detach().abs().max())
    adaptation.unmerge()
    assert torch.equal(model(x), output)


def test_dropout_acts_on_the_input_of_the_update_in_training_alone() -> None:
    layer, _, adapter = on(nn.Linear(7, 6), SNELL(dropout=0.5, **STEEP))
    x = torch.ones(4000, 7).double()
    base = x @ layer.weight.t() + layer.bias
    layer.train()
    change = (layer(x) - base).detach()
    expected = adapter.delta().detach().sum(1)
    assert change.std(0).max() > 0
    assert (change.mean(0) - expected).abs().max() < 0.1 * adapter.delta().abs().max()
    layer.eval()
    assert_close(layer(x), base + expected)
    table, _, adapter = on(nn.Embedding(5, 4), SNELL(dropout=0.5, **STEEP))
    ids = torch.zeros(50, dtype=torch.long)
    change = (table.train()(ids) - table.weight[0]).detach()
    whole = 2 * adapter.delta().detach()[:, 0]
    assert 0 < int((change == 0).all(1).sum()) < 50
    assert_close(change[(change != 0).any(1)][0], whole)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": 0}, "rank must be at least 1"),
        ({"rank": 3}, "rank 3 cannot be cut into 2 segments"),
        ({"segments": 0}, "segments must be at least 1"),
        ({"coefficient": 0.0}, "coefficient must be above 0"),
        ({"sparsity": 1.0}, r"sparsity must be in \[0, 1\)"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"kernel": "rbf"}, "kernel must be"),
        ({"sparsifier": "soft"}, "sparsifier must be"),
    ],
)
def test_fields_out_of_range_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        SNELL.from_fields(fields)


def fitted(method: SNELL | LoRA, target: Tensor, steps: int) -> float:
    """Mean squared error of the delta after fitting it to a target."""
    layer = nn.Sequential(nn.Linear(48, 48, bias=False))
    nn.init.zeros_(layer[0].weight)
    adapter = adapt(layer, method, ["0"]).adapters["0"]
    optimizer = torch.optim.Adam(adapter.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        error = (adapter.delta() - target).square().mean()
        error.backward()
        optimizer.step()
    return float(error.detach())


@pytest.mark.slow
def test_distances_fit_what_products_of_their_size_cannot() -> None:
    gaussian = draw(48, 48, seed=1, dtype=torch.float32)
    sparse = gaussian * (torch.rand(48, 48, generator=torch.Generator().manual_seed(2)) < 0.1)
    lora, plain = LoRA(rank=8, alpha=8), SNELL(rank=8, sparsifier="none", coefficient=1.0)
    mixed = SNELL(rank=8, sparsifier="none", coefficient=1.0, kernel="mixed")
    product, distance, both = (fitted(method, sparse, 1000) for method in (lora, plain, mixed))
    assert both <= distance < 0.7 * product
    product, distance = (fitted(method, gaussian, 1000) for method in (lora, plain))
    assert distance < product

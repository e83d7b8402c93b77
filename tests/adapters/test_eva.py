# SPDX-License-Identifier: Apache-2.0
"""EVA: its start against the definition and against PEFT, the ranks, what calibration leaves alone, and loading."""

from pathlib import Path
from typing import Any

import pytest
import torch
from eva_digits import outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from random_layers import draw, filled, moved
from rankwise import LoRA, MethodError, TargetError, adapt, load
from rankwise.adapters.eva import EVA, redistribute
from rankwise.testing import TOLERANCE, assert_close

NAMES = ["0", "2", "4", "6"]


def net(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """Four layers, whose inputs vary along few directions, each along others."""
    layers = [nn.Linear(10, 8), nn.Tanh(), nn.Linear(8, 9), nn.Tanh(), nn.Linear(9, 8), nn.Tanh(), nn.Linear(8, 5)]
    model = nn.Sequential(*layers)
    for size, name in zip((0.3, 1.0, 0.2, 1.0), NAMES, strict=True):
        layer = filled(model.get_submodule(name), torch.float64)
        with torch.no_grad():
            layer.weight.mul_(size)
    return model.to(dtype)


def data(batches: int = 3, rows: int = 24, dtype: torch.dtype = torch.float64, decay: float = 2.0) -> list[Tensor]:
    """Batches with a few strong directions and a mean away from zero."""
    scale = decay ** -torch.arange(10).double()
    mixing = torch.linalg.qr(draw(10, 10, seed=4))[0]
    return [((draw(rows, 10, seed=60 + i) * scale) @ mixing + 0.5).to(dtype) for i in range(batches)]


def inputs_of(model: nn.Sequential, batches: list[Tensor]) -> dict[str, Tensor]:
    """The inputs of the four layers, all rows."""
    found, x = {}, torch.cat(batches)
    with torch.no_grad():
        for name, layer in model.named_children():
            found[name] = x
            x = layer(x)
    return {name: found[name] for name in NAMES}


def principal(x: Tensor, center: bool = True) -> tuple[Tensor, Tensor]:
    """Directions of all rows, and the share of each in the variance."""
    _, s, v = torch.linalg.svd(x - x.mean(0) if center else x, full_matrices=False)
    return v * v.gather(1, v.abs().argmax(1, keepdim=True)).sign(), s.square() / s.square().sum()


def test_the_start_is_the_base_to_the_bit_and_directions_are_orthonormal() -> None:
    model, x = net(), data(1)[0]
    before = model(x)
    adaptation = adapt(model, EVA(rank=2), NAMES, calibration=data())
    assert torch.equal(model(x), before)
    for adapter in adaptation.adapters.values():
        assert not adapter.left.any()
        assert_close(adapter.right @ adapter.right.t(), torch.eye(len(adapter.right)).double())
    moved(adaptation)
    assert not torch.allclose(model(x), before)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("rho", [1.0, 1.5, 2.0])
def test_directions_and_ranks_are_those_of_all_inputs(rho: float, center: bool) -> None:
    model = net()
    expected = {name: principal(x, center) for name, x in inputs_of(model, data()).items()}
    entries = [(float(s), name) for name, (_, shares) in expected.items() for s in shares[: round(2 * rho)]]
    winners = [name for _, name in sorted(entries, reverse=True)[:8]]
    adaptation = adapt(model, EVA(rank=2, rho=rho, alpha=3.0, center=center), NAMES, calibration=data())
    assert {name: winners.count(name) for name in NAMES if name in winners} == {
        name: len(adapter.right) for name, adapter in adaptation.adapters.items()
    }
    for name, adapter in adaptation.adapters.items():
        assert_close(adapter.right, expected[name][0][: len(adapter.right)])
        assert adapter.scaling == pytest.approx(3.0 / 2)
    ranks = [len(adapter.right) for adapter in adaptation.adapters.values()]
    assert sum(ranks) == 8 and max(ranks) <= round(2 * rho)
    assert (ranks == [2, 2, 2, 2]) == (rho == 1.0)


@given(
    st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=5), min_size=1, max_size=6),
    st.integers(1, 10),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_redistribution_takes_the_largest_shares(shares: list[list[float]], budget: int, tied: bool) -> None:
    vectors = [torch.tensor(one, dtype=torch.float64).sort(descending=True).values.round(decimals=1) for one in shares]
    vectors = [torch.ones_like(one) for one in vectors] if tied else vectors
    budget = min(budget, sum(map(len, vectors)))
    ranks = redistribute(vectors, budget)
    assert sum(ranks) == budget and all(0 <= rank <= len(one) for rank, one in zip(ranks, vectors, strict=True))
    taken = [one[:rank].min() for one, rank in zip(vectors, ranks, strict=True) if rank]
    left = [one[rank:].max() for one, rank in zip(vectors, ranks, strict=True) if rank < len(one)]
    assert not left or min(taken) >= max(left)


def test_redistribution_by_hand() -> None:
    shares = [torch.tensor([0.5, 0.3, 0.1]), torch.tensor([0.09, 0.08, 0.07]), torch.tensor([0.9, 0.4, 0.2])]
    assert redistribute(shares, 6) == [3, 0, 3]
    assert redistribute([one[:2] for one in shares], 6) == [2, 2, 2]  # rho = 1
    assert redistribute([torch.tensor([0.5, 0.5]), torch.tensor([0.5, 0.5])], 3) == [2, 1]


@pytest.mark.parametrize("rho", [1.0, 2.0])
def test_incremental_ends_where_peft_does(rho: float) -> None:
    peft = pytest.importorskip("peft")
    from peft.tuners.lora.eva import initialize_lora_eva_weights  # noqa: PLC0415 - optional

    batches = data(4, rows=40, dtype=torch.float32)
    config = peft.LoraConfig(
        r=2, lora_alpha=1, target_modules=NAMES, init_lora_weights="eva", eva_config=peft.EvaConfig(rho=rho)
    )
    theirs = peft.get_peft_model(net(torch.float32), config, low_cpu_mem_usage=True)
    options = {
        "forward_fn": lambda model, x: model(x),
        "prepare_model_inputs_fn": None,
        "prepare_layer_inputs_fn": None,
    }
    initialize_lora_eva_weights(theirs, batches, show_progress_bar=False, **options)
    layers = {name: theirs.base_model.model.get_submodule(name) for name in NAMES}
    expected = {name: one.lora_A["default"].weight for name, one in layers.items() if hasattr(one, "lora_A")}
    method = EVA(rank=2, rho=rho, backend="incremental")
    mine = adapt(net(torch.float32), method, NAMES, calibration=batches).adapters
    assert {name: len(one.right) for name, one in mine.items()} == {name: len(one) for name, one in expected.items()}
    for name, adapter in mine.items():
        assert adapter.scaling == pytest.approx(layers[name].scaling["default"]) == 0.5
        assert torch.cosine_similarity(adapter.right, expected[name]).min() > 0.99


@pytest.mark.parametrize("backend", ["gram", "incremental"])
def test_the_order_of_batches_does_not_matter(backend: Any) -> None:
    method, batches = EVA(rank=2, rho=1.0, backend=backend), data(6)
    first, second = (adapt(net(), method, NAMES, calibration=b).adapters for b in (batches, batches[::-1]))
    for name in NAMES:
        cosines = torch.linalg.svdvals(first[name].right @ second[name].right.t())
        if backend == "gram":
            assert_close(cosines, torch.ones(2).double())
        assert cosines.min() > 0.95


class Projections(nn.Module):
    """Two layers that read one tensor, or the second a copy of it."""

    def __init__(self, copy: bool) -> None:
        super().__init__()
        self.q, self.k, self.copy = nn.Linear(10, 6), nn.Linear(10, 4), copy

    def forward(self, x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return self.q(x).sum(-1) + self.k(x.clone() if self.copy else x).sum(-1)


def test_sharing_changes_nothing() -> None:
    first, second = (adapt(filled(Projections(copy)), EVA(rank=2), calibration=data()) for copy in (False, True))
    assert list(first.adapters) == list(second.adapters) == ["q", "k"]
    for name, adapter in first.adapters.items():
        assert_close(adapter.right, second.adapters[name].right)


def test_masked_tokens_have_no_influence() -> None:
    mask = (torch.arange(24) % 3 != 0).reshape(4, 6)
    batches = [one.reshape(4, 6, 10) for one in data()]

    def right(padding: float) -> list[Tensor]:
        masked = [torch.where(mask[..., None], one, padding) for one in batches]
        fed = [{"x": one, "attention_mask": mask} for one in masked]
        return [one.right for one in adapt(filled(Projections(False)), EVA(rank=2), calibration=fed).adapters.values()]

    expected = principal(torch.cat([one[mask] for one in batches]))[0]
    for first, second in zip(right(0.0), right(1e6), strict=True):
        assert torch.equal(first, second)
        assert_close(first, expected[: len(first)])


def test_the_seed_and_the_flatdetermine_the_start() -> None:
    def start(noise: int) -> dict[str, Tensor]:
        model = net()
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        adapters = adapt(model, EVA(rank=2), NAMES, calibration=data()).adapters
        assert torch.equal(torch.get_rng_state(), before)
        return {name: adapter.right for name, adapter in adapters.items()}

    first, second = start(0), start(1)
    assert all(torch.equal(one, second[name]) for name, one in first.items())


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_no_other_orthonormal_directions_keep_more_variance(seed: int) -> None:
    model = net()
    adapter = adapt(model, EVA(rank=3, rho=1.0), ["2"], calibration=data()).adapters["2"]
    sigma = torch.cov(inputs_of(model, data())["2"].t())
    other = torch.linalg.qr(draw(8, 3, seed=seed))[0].t()
    assert torch.trace(adapter.right @ sigma @ adapter.right.t()) > torch.trace(other @ sigma @ other.t())


def test_a_weight_without_rank_gets_no_adapter_and_loads_so(tmp_path: Path) -> None:
    model, x = net(), data(1)[0]
    with torch.no_grad():
        model[0].weight[1] *= 0.45
        model[0].weight[2:] *= 0.01  # the later layers read two directions, the first one ten of equal variance
        model[2].weight *= 0.3
    flat = data(decay=1.0)
    adaptation = moved(adapt(model, EVA(rank=1, rho=4.0), NAMES, calibration=flat))
    ranks = {name: len(adapter.right) for name, adapter in adaptation.adapters.items()}
    missing = [name for name in NAMES if name not in ranks]
    assert missing == ["0"] and ranks == {"2": 2, "4": 1, "6": 1}
    assert adaptation.summary().without == tuple(missing)
    assert f"rank 0, no adapter: {', '.join(missing)}" in str(adaptation.summary())
    adaptation.save(tmp_path)
    base = net()
    base.load_state_dict({k: v for k, v in model.state_dict().items() if "rankwise" not in k})
    loaded = load(base, tmp_path)
    assert {name: len(adapter.right) for name, adapter in loaded.adapters.items()} == ranks
    assert loaded.summary().without == tuple(missing) and loaded.method == adaptation.method
    assert torch.equal(base(x), model(x))


def test_ranks_of_some_targets_count_in_the_budget() -> None:
    method, ranks = EVA(rank=1, rho=1.0, alpha=2.0), {"2": 3}
    adapters = adapt(net(), method, NAMES, ranks=ranks, calibration=data()).adapters
    assert {name: len(one.right) for name, one in adapters.items()} == {"0": 1, "2": 3, "4": 1, "6": 1}
    assert [one.scaling for one in adapters.values()] == pytest.approx([2.0] * 4)
    spread = adapt(net(), EVA(rank=1, rho=2.0), NAMES, ranks=ranks, calibration=data()).adapters
    assert sum(len(one.right) for one in spread.values()) == 6


@pytest.mark.parametrize("whiten", ["deviation", "singular"])
def test_whitening_scales_each_direction_once_also_where_inputs_are_shared(whiten: Any) -> None:
    x = torch.cat(data())
    plain = adapt(filled(Projections(False)), EVA(rank=2), calibration=data()).adapters
    adapters = adapt(filled(Projections(False)), EVA(rank=2, whiten=whiten), calibration=data()).adapters
    for name, adapter in adapters.items():
        ratio = adapter.right.norm(dim=1)
        assert_close(adapter.right, ratio[:, None] * plain[name].right)
        if whiten == "deviation":  # the bottleneck has variance 1
            assert_close((x @ adapter.right.t()).var(0), torch.ones(len(ratio)).double())
        else:
            assert_close(ratio, torch.linalg.svdvals(x - x.mean(0))[: len(ratio)].rsqrt())


def test_a_convolution_starts_from_its_patches() -> None:
    layer, x = filled(nn.Conv2d(3, 5, (2, 3), stride=2, padding=1)), draw(4, 3, 7, 6)
    adaptation = adapt(nn.Sequential(layer), EVA(rank=3), ["0"], calibration=[x[:2], x[2:]])
    patches = F.unfold(x, (2, 3), padding=1, stride=2).transpose(1, 2).flatten(0, 1)
    assert_close(adaptation.adapters["0"].right, principal(patches)[0][:3])


def test_wide_inputs_are_decomposed_incrementally() -> None:
    loadings = torch.linalg.qr(draw(4100, 4))[0] * torch.tensor([8.0, 4.0, 2.0, 1.0]).double()
    batches = [draw(40, 4, seed=seed) @ loadings.t() for seed in range(3)]
    method = EVA(rank=2, tau=1 - 1e-12, max_batches=3)
    adaptation = adapt(nn.Sequential(filled(nn.Linear(4100, 4))), method, ["0"], calibration=batches)
    assert_close(adaptation.adapters["0"].right, principal(torch.cat(batches))[0][:2])


def test_half_precision_models_start_from_float32_directions() -> None:
    model = net(torch.bfloat16)
    adapters = adapt(model, EVA(rank=2, rho=1.0), NAMES, calibration=data(dtype=torch.bfloat16)).adapters
    for name, x in inputs_of(model, data(dtype=torch.bfloat16)).items():
        _, atol = TOLERANCE[torch.float32]
        assert adapters[name].right.dtype == torch.float32
        assert torch.allclose(adapters[name].right.double(), principal(x.double())[0][:2], atol=10 * atol)


def test_convergence_stops_the_reading() -> None:
    def endless() -> Any:
        for i in range(1000):
            taken.append(i)
            yield data(1, rows=400)[0]

    taken: list[int] = []
    adapt(net(), EVA(rank=1, backend="incremental"), NAMES, calibration=endless())
    assert len(taken) < 10
    taken.clear()
    adapt(net(), EVA(rank=1), NAMES, calibration=endless())
    assert 16 <= len(taken) <= 18
    taken.clear()
    adapt(net(), EVA(rank=1, max_batches=5), NAMES, calibration=endless())
    assert len(taken) <= 6


def test_it_becomes_a_lora_without_loss() -> None:
    model, x = net(), data(1)[0]
    adaptation = moved(adapt(model, EVA(rank=2), NAMES, calibration=data()))
    before = model(x)
    conversion = adaptation.convert(LoRA(rank=4))
    assert max(conversion.relative_error.values()) < 1e-10
    assert_close(model(x), before)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rho": 0.5}, "rho must be at least 1"),
        ({"tau": 1.0}, "tau must be in"),
        ({"rank": 0}, "rank must be at least"),
    ],
    ids=str,
)
def test_fields_out_of_range_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        EVA(**fields)


def test_missing_and_insufficient_calibration_is_refused() -> None:
    with pytest.raises(MethodError, match=r"EVA starts from data; .* calibration=loader"):
        adapt(net(), EVA(rank=2), NAMES)
    few = [one[:1] for one in data()]
    with pytest.raises(MethodError, match=r"4 principal directions .* fewer in all .* \(3 in all\)"):
        adapt(net(), EVA(rank=2), NAMES, calibration=few)
    with pytest.raises(MethodError, match=r"fewer in each of the calibration batches \(12 in all\)"):
        adapt(net(), EVA(rank=2, backend="incremental", max_batches=12), NAMES, calibration=few)
    with pytest.raises(MethodError, match="rank 9 is above"):
        adapt(net(), EVA(rank=9), NAMES, calibration=data())
    with pytest.raises(MethodError, match="vary along fewer than 3"):
        flat = [torch.cat([one[:, :1], torch.zeros(24, 9)], 1) for one in data()]
        adapt(net(), EVA(rank=3, whiten="deviation"), ["0"], calibration=flat)


@pytest.mark.parametrize(
    ("layer", "target", "message"),
    [
        (nn.Embedding(5, 4), "0", "is an embedding, whose inputs are indices"),
        (nn.LSTM(4, 3), "0.weight_ih_l0", "read without its layer being called"),
    ],
    ids=["embedding", "lstm"],
)
def test_weights_without_an_input_to_look_at_are_refused(layer: nn.Module, target: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        adapt(nn.Sequential(layer), EVA(rank=1), [target], calibration=[torch.zeros(2, 4)])


@pytest.mark.slow
def test_digits_learn_faster_from_the_principal_directions() -> None:
    eva, default = (outcome(start, 2, seeds=range(3)) for start in ("EVA", "LoRA default"))
    assert eva.gradient >= 4 * default.gradient
    assert eva.losses[100] <= 0.6 * default.losses[100]
    assert eva.accuracy >= default.accuracy - 0.01

# SPDX-License-Identifier: Apache-2.0
"""The largest setting of every method under a budget."""

import math
from collections.abc import Iterator
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import rankwise
from rankwise import Adaptation, DiffoRA, Method, TriAdaptLoRA, adapt
from rankwise.adapters.search import SearchState
from rankwise.bench.counts import Terms
from rankwise.bench.ladders import Fitted, Unfit, budget_of, fit
from rankwise.bench.settings import LADDERS
from rankwise.bench.task import Adapted, Batch, Bench, BenchError, Scores
from rankwise.core.growth import Growing, GrowingAdapter
from rankwise.core.select import find_targets
from rankwise.errors import MethodError, TargetError

STEPS, EXAMPLES, DOMAINS = 8, 24, 3
METHODS = sorted(rankwise.methods())
CONVOLUTIONS_ONLY = {"convdora", "convlora", "dorac", "lorac"}
PER_RANK = 2 * (16 + 16 + 16 + 24 + 24 + 16)  # a LoRA's parameters on `Linears`
LINEARS_BUDGET = int(3.7 * PER_RANK)
ROOM = PER_RANK * 17  # above every LoRA, whose rank is at most 16


class Block(nn.Module):
    """Three linear layers of three sizes around a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.up, self.down = nn.Linear(16, 16), nn.Linear(16, 24), nn.Linear(24, 16)

    def forward(self, x: Tensor) -> Tensor:
        """Features of the input's width."""
        return x + self.down(torch.tanh(self.up(self.mix(x))))


class Linears(Bench):
    """Two blocks of linear layers, with task ids and qualities unless left out."""

    targets = "all-linear"

    def __init__(self, values: tuple[str, ...] = ("task", "quality")) -> None:
        self.values, self.domains = values, DOMAINS
        self.shape: tuple[int, ...] = (EXAMPLES, 16)

    def base(self, seed: int) -> nn.Module:
        """The same weights every time."""
        torch.manual_seed(3)
        return nn.Sequential(*self.body())

    def body(self) -> list[nn.Module]:
        """The layers."""
        return [Block(), Block()]

    def head(self, model: nn.Module) -> list[nn.Parameter]:
        """None."""
        return []

    def batches(self, count: int, seed: int) -> Iterator[Batch]:
        """Normal inputs with task ids and qualities."""
        generator = torch.Generator().manual_seed(seed)
        for _ in range(count):
            x = torch.randn(self.shape, generator=generator)
            rows = torch.arange(self.shape[0])
            yield {"x": x, "task": rows % DOMAINS, "quality": rows / self.shape[0]}

    def calibration(self, count: int, seed: int) -> Iterator[Batch]:
        """What the model takes."""
        return ({"input": batch["x"]} for batch in self.batches(count, seed))

    def run(self, adapted: Adapted, batch: Batch) -> Tensor:
        """The output with task ids and qualities."""
        with adapted.context(task=batch["task"], quality=batch["quality"]):
            return adapted.model(batch["x"])

    def loss(self, adapted: Adapted, batch: Batch) -> Tensor:
        """The distance to the inputs in another order."""
        return (self.run(adapted, batch) - batch["x"].flip(1)).square().mean()

    def score(self, adapted: Adapted) -> Scores:
        """Nothing is judged here."""
        raise NotImplementedError


class Convolutions(Linears):
    """Two square convolutions."""

    targets = r"\d"

    def __init__(self) -> None:
        super().__init__()
        self.shape = (EXAMPLES, 8, 5, 5)

    def body(self) -> list[nn.Module]:
        """The layers."""
        return [nn.Conv2d(8, 12, 3, padding=1), nn.Conv2d(12, 8, 3, padding=1)]


class Mixed(Linears):
    """A convolution of length 1 and a linear layer."""

    targets = r"\d"

    def body(self) -> list[nn.Module]:
        """The layers."""
        return [nn.Conv2d(8, 8, 1), nn.Linear(5, 5)]


def terms_of(bench: Bench) -> Terms:
    """What settings are made for on a bench."""
    return Terms(find_targets(bench.base(0), bench.targets), STEPS, bench.domains)


@cache
def fitted_on_linears(name: str) -> Fitted:
    """A fit that two tests look at."""
    return fit(name, Linears(), STEPS, LINEARS_BUDGET)


def trains(method: Method, bench: Bench) -> int:
    """How many parameters a method trains in the end, counted on a model."""
    data = list(bench.calibration(4, 0)) if method.calibrated else None
    adaptation = adapt(bench.base(0), method, bench.targets, calibration=data)
    if isinstance(method, Growing):
        return most_after_growth(method, adaptation)
    if isinstance(method, DiffoRA):
        own = {name: sum(p.numel() for p in one.parameters(recurse=False)) for name, one in adaptation.adapters.items()}
        layers = [sorted(n for name, n in own.items() if name.startswith(first)) for first in "01"]
        pairs = sum(layers[0]) if len(layers[0]) > 1 else 0  # one for each place of a layer
        return pairs + sum(sum(layer[-2:]) for layer in layers)  # half of three weights, rounded up
    return adaptation.summary().trainable


def grown(adaptation: Adaptation) -> int:
    """How many parameters act at the ranks that the weights have now."""
    weights = [one for one in adaptation.adapters.values() if isinstance(one, GrowingAdapter)]
    return sum(cost(adaptation.method, one, int(one.rank)) for one in weights)


def cost(method: Method, weight: GrowingAdapter, rank: int) -> int:
    """The factors of one weight, and a vector or two triangles with their diagonals between them."""
    between = rank * (rank + 1) if isinstance(method, TriAdaptLoRA) else rank
    return rank * sum(weight.target.matrix_shape) + between


def most_after_growth(method: Growing, adaptation: Adaptation) -> int:
    """The dearest way to deal out the final ranks, by going through all of them weight by weight."""
    dearest = {0: 0}  # by how many ranks are dealt out
    weights = [one for one in adaptation.adapters.values() if isinstance(one, GrowingAdapter)]
    for one in weights:
        choices = {rank: cost(method, one, rank) for rank in range(method.rank, one.limit + 1)}
        sums = [(dealt + rank, before + now) for dealt, before in dearest.items() for rank, now in choices.items()]
        dearest = {}
        for dealt, price in sums:
            dearest[dealt] = max(price, dearest.get(dealt, 0))
    return dearest[method.target_rank * len(weights)]


def following(fitted: Fitted, name: str, bench: Bench) -> Method | None:
    """The next larger setting; None if there is none."""
    terms, ladder = terms_of(bench), LADDERS[name]
    rising = (ladder.setting(size, terms) for size in ladder.sizes(terms))
    return next(rising, None) if fitted.method in rising else None  # looks no further than to the fitted one


@pytest.mark.parametrize("name", METHODS)
def test_every_registered_method_has_a_ladder(name):
    assert name in LADDERS, f"{name} is registered, but LADDERS in rankwise.bench.settings has no settings for it"


def test_no_ladder_is_left_of_a_method_that_is_gone():
    assert set(LADDERS) <= set(METHODS)


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_the_budget_is_what_lora_trains(rank):
    assert budget_of(Linears(), rank) == rank * PER_RANK
    assert budget_of(Convolutions(), rank) == rank * (12 + 72 + 8 + 108)


@settings(max_examples=10, deadline=None)
@given(budget=st.integers(PER_RANK, ROOM + 500))
def test_lora_fills_any_budget_up_to_its_largest_rank(budget):
    assert fit("lora", Linears(), STEPS, budget).method.to_dict()["rank"] == min(16, budget // PER_RANK)


@pytest.mark.parametrize("name", sorted(set(METHODS) - CONVOLUTIONS_ONLY))
def test_the_fitted_setting_of_linear_layers_is_the_largest_within_the_budget(name):
    largest_within(name, Linears(), LINEARS_BUDGET, fitted_on_linears(name))


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"tlora"}))
def test_the_fitted_setting_of_convolutions_is_the_largest_within_the_budget(name):
    bench = Convolutions()
    largest_within(name, bench, 800, fit(name, bench, STEPS, 800))  # a LoRA of rank 4


def largest_within(name: str, bench: Bench, budget: int, fitted: Fitted) -> None:
    """Check a fit against models that carry the setting and the next larger one."""
    assert fitted.parameters == trains(fitted.method, bench) <= budget
    following_one = following(fitted, name, bench)
    if following_one is not None:
        try:
            assert trains(following_one, bench) > budget
        except MethodError:
            pass  # refused: a layer is too small for it


def test_room_enough_fits_all_methods_of_linear_layers():
    fits = {name for name in METHODS if name not in CONVOLUTIONS_ONLY and fit(name, Linears(), STEPS, ROOM)}
    assert len(fits) == len(METHODS) - len(CONVOLUTIONS_ONLY) >= 24


@pytest.mark.parametrize("name", sorted(set(METHODS) - CONVOLUTIONS_ONLY))
def test_fitted_methods_train_through_their_whole_schedule(name):
    bench, fitted = Linears(), fitted_on_linears(name)
    data = list(bench.calibration(4, 0)) if fitted.method.calibrated else None
    adaptation = adapt(bench.base(0), fitted.method, bench.targets, calibration=data)
    before = {key: p.detach().clone() for key, p in adaptation.named_parameters()}
    optimizer = torch.optim.AdamW(list(adaptation.parameters()), lr=1e-2, weight_decay=0.0)
    adaptation.attach(optimizer)
    losses = []
    for batch in bench.batches(STEPS, 1):
        optimizer.zero_grad()
        loss = bench.loss(Adapted(adaptation.model, adaptation), batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert all(math.isfinite(loss) for loss in losses)
    assert any(not torch.equal(p, before[key]) for key, p in adaptation.named_parameters())
    if isinstance(fitted.method, Growing):  # the budget of ranks is dealt out before the end, within the count
        ranks = [int(one.rank) for one in adaptation.adapters.values() if isinstance(one, GrowingAdapter)]
        assert sum(ranks) == len(ranks) * fitted.method.target_rank
        assert grown(adaptation) <= fitted.parameters
    if isinstance(adaptation.shared, SearchState):  # the search is over, and what is kept is within the count
        moving = adaptation.shared.moving(adaptation.adapters.values())  # type: ignore[arg-type]
        assert bool(adaptation.shared.rounded)
        assert sum(p.numel() for p in moving) <= fitted.parameters


def test_methods_that_are_told_the_task_know_all_of_them_or_one():
    assert fit("poly", Linears(), STEPS, ROOM).method.to_dict()["tasks"] == DOMAINS
    assert fit("poly", Linears(values=()), STEPS, ROOM).method.to_dict()["tasks"] == 1


@pytest.mark.parametrize(
    ("name", "bench", "budget", "reason"),
    [
        ("lora", Linears(), PER_RANK - 1, "its smallest setting trains 224 parameters, the budget is 223"),
        ("snell", Linears(), PER_RANK, "its smallest setting trains 448 parameters, the budget is 224"),
        ("convlora", Linears(), ROOM, "it adapts convolutions, and this task has none"),
        ("convlora", Mixed(), ROOM, "it adapts convolutions alone, and 1 of the 2 weights of this task are none"),
        ("lorac", Mixed(), ROOM, "it adapts convolutions alone, and 1 of the 2 weights of this task are none"),
        ("tlora", Convolutions(), ROOM, "it adapts linear layers, and this task has none"),
        (
            "petalface",
            Linears(values=("task",)),
            ROOM,
            "it needs an image quality for each example, which this task does not have",
        ),
    ],
)
def test_a_method_that_does_not_fit_says_why(name, bench, budget, reason):
    with pytest.raises(Unfit) as error:
        fit(name, bench, STEPS, budget)
    assert str(error.value) == reason


def test_a_setting_that_only_a_model_refuses_is_not_fitted():
    class Few(Linears):
        def calibration(self, count: int, seed: int) -> Iterator[Batch]:
            return ({"input": batch["x"][:1]} for batch in self.batches(count, seed))

    with pytest.raises(Unfit, match=r"is refused: .* need as many rows"):
        fit("eva", Few(), STEPS, 6 * PER_RANK)


def test_an_unknown_method_and_one_without_a_ladder_are_refused(monkeypatch):
    with pytest.raises(MethodError, match="there is no method 'loro'"):
        fit("loro", Linears(), STEPS, ROOM)
    monkeypatch.delitem(LADDERS, "bone")
    with pytest.raises(BenchError, match="Bone has no ladder of settings"):
        fit("bone", Linears(), STEPS, ROOM)


def test_targets_that_match_nothing_are_an_error_of_their_own():
    bench = Linears()
    bench.targets = "nothing"
    with pytest.raises(TargetError):
        fit("lora", bench, STEPS, ROOM)

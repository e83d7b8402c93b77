# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rankwise import LoRA, adapt
from rankwise.adapters.petalface import PETALface
from rankwise.bench.task import Adapted, BenchError
from rankwise.bench.tasks.segmentation import Segmentation, SegmentationBench, UNet, bars, dice, discs, overlap_loss
from rankwise.core.select import find_targets
from rankwise.testing import assert_close

TINY = Segmentation(steps=8, batch_size=6, adapted=18, validated=6, tested=8, pretraining_steps=80, width=8, side=16)
CONVOLUTIONS = ["encoder.0", "encoder.1", "bottleneck.0", "skip.0", "skip.1", "decoder.0", "decoder.1"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def bench(cache: Path) -> SegmentationBench:
    return TINY.prepare(None, cache)


def test_dice_by_hand() -> None:
    truth = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]]).repeat(4, 1, 1, 1)
    truth[3] = 0
    signs = torch.tensor([[[1.0, 1], [-1, -1]], [[1, -1], [1, 1]], [[-1, -1], [-1, -1]], [[-1, -1], [-1, -1]]])
    # all of it; 1 of 2 found and 3 claimed, 2 / (3 + 2); nothing found; nothing there and nothing found
    assert_close(dice(signs[:, None], truth), torch.tensor([1.0, 0.4, 0.0, 1.0]))


def test_the_loss_by_hand() -> None:
    logits, truth = torch.zeros(1, 1, 2, 2), torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    # every probability is 1/2: cross entropy log 2, overlap (2 * 1/2 + 1) / (2 + 1 + 1)
    assert_close(overlap_loss(logits, truth), torch.tensor(2.0).log() + 1 - 0.5)
    certain = 50 * (2 * truth - 1)
    assert_close(overlap_loss(certain, truth), torch.tensor(0.0))


def test_discs_are_bright_and_bars_dark_and_both_inside() -> None:
    for draw, sign in ((discs, 1), (bars, -1)):
        images = draw(200, 32, torch.Generator().manual_seed(0))
        inside, outside = ((images.x * one).sum((1, 2, 3)) / one.sum((1, 2, 3)) for one in (images.y, 1 - images.y))
        assert sign * (inside - outside).mean() > 0.1
        assert bool((images.y.sum((1, 2, 3)) > 0).all()) and set(images.y.unique().tolist()) == {0.0, 1.0}


def test_quality_is_the_strength_of_the_noise() -> None:
    images = discs(100, 32, torch.Generator().manual_seed(0))
    outside = images.x.masked_fill(images.y > 0, float("nan"))
    deviation = outside.flatten(1).sub(outside.flatten(1).nanmean(1, True)).square().nanmean(1).sqrt()
    assert float((deviation - (0.5 - 0.4 * images.quality)).abs().max()) < 0.05  # 0.5 at quality 0, 0.1 at 1


@pytest.mark.parametrize("parts", [("decoder",), ("encoder", "skip"), ("encoder", "bottleneck", "skip", "decoder")])
def test_parts_choose_modules(cache: Path, parts: tuple[str, ...]) -> None:
    bench = replace(TINY, parts=parts).prepare(None, cache)
    found = [one.name for one in find_targets(bench.base(0), bench.targets)]
    assert found == [name for name in CONVOLUTIONS if name.startswith(parts)]
    assert len(list(cache.iterdir())) == 1  # the base is the same for all


def test_unknown_parts_are_refused() -> None:
    for parts in (("encoder", "stem"), ()):
        with pytest.raises(BenchError, match="allowed are some of bottleneck, decoder, encoder, skip"):
            replace(TINY, parts=parts)


def test_a_pixel_is_answered_for_at_its_place() -> None:
    model = UNet(4).eval()
    x = torch.zeros(1, 1, 32, 32)
    changed = x.clone()
    changed[..., 20, 9] = 5.0
    with torch.no_grad():
        moved = (model(changed) - model(x)).abs()[0, 0] > 0
    rows, columns = moved.nonzero(as_tuple=True)
    assert moved.shape == (32, 32)
    assert rows.min() <= 20 <= rows.max() and columns.min() <= 9 <= columns.max()


def test_the_splits_are_disjoint_and_the_same_again(cache: Path, bench: SegmentationBench) -> None:
    splits = (bench.train, bench.validation, bench.test, bench.source)
    everything = torch.cat([one.x for one in splits]).flatten(1)
    assert [len(one) for one in splits] == [18, 6, 8, 8]
    assert len(everything.unique(dim=0)) == len(everything)
    again = TINY.prepare(None, cache)
    assert torch.equal(again.test.x, bench.test.x) and torch.equal(again.source.y, bench.source.y)
    pairs = zip(bench.base(0).parameters(), again.base(1).parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    first, other = (next(one.batches(1, seed))["x"] for one, seed in ((bench, 0), (again, 1)))
    assert torch.equal(first, next(again.batches(1, 0))["x"]) and not torch.equal(first, other)


def test_lora_lowers_the_loss_and_nothing_else_trains(bench: SegmentationBench) -> None:
    model = bench.base(0)
    adaptation = adapt(model, LoRA(rank=2), bench.targets)
    adapted, whole = Adapted(model, adaptation), bench.train.part(slice(None))
    assert bench.head(model) == [] and list(adaptation.targets) == CONVOLUTIONS
    optimizer, before = torch.optim.AdamW(adaptation.parameters(), lr=1e-2), bench.loss(adapted, whole).item()
    for batch in bench.batches(TINY.steps, 0):
        optimizer.zero_grad()
        bench.loss(adapted, batch).backward()
        optimizer.step()
    assert bench.loss(adapted, whole).item() < before - 0.02


def test_scores_are_the_dice_of_their_splits(bench: SegmentationBench) -> None:
    model = bench.base(0).eval()
    with torch.no_grad():
        scores = bench.score(Adapted(model))
        measured = [float(dice(model(one.x), one.y).mean()) for one in (bench.validation, bench.test, bench.source)]
    assert [scores.validation, scores.quality, scores.retention] == pytest.approx(measured)
    assert scores.retention > scores.quality  # the base knows its own domain


def test_each_image_comes_with_its_quality(bench: SegmentationBench) -> None:
    model = bench.base(0).eval()
    adaptation = adapt(model, PETALface(rank=2, init_up_std=0.5), bench.targets)
    batch = bench.train.part(slice(0, 3))
    assert {len(value) for value in batch.values()} == {3}
    with torch.no_grad():
        together = bench.run(Adapted(model, adaptation), batch)
        for row in range(3):
            with adaptation.context(quality=float(batch["quality"][row])):
                assert_close(
                    model(batch["x"][row : row + 1])[0], together[row], dtype=torch.float16
                )  # other products in a batch of one

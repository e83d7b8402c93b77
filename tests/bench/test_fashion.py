# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from rankwise import LoRA, adapt, adaptations
from rankwise.adapters.petalface import PETALface
from rankwise.bench.images import fashion_mnist, pixels
from rankwise.bench.task import Adapted, BenchError
from rankwise.bench.tasks.fashion import FashionBench, FashionHalves
from rankwise.testing import assert_close

TINY = FashionHalves(
    steps=8,
    batch_size=10,
    pretraining=60,
    pretraining_steps=6,
    adapted=40,
    validated=20,
    tested=20,
    width=16,
    depth=1,
    heads=2,
)


@pytest.fixture(scope="module")
def bench(data: Path) -> FashionBench:
    return TINY.prepare(data, data / "cache")


def test_the_splits_are_disjoint(bench: FashionBench) -> None:
    rows = [one.x[one.quality == 1].flatten(1) for one in (bench.train, bench.validation, bench.test, bench.old)]
    assert [len(one) for one in (bench.train, bench.validation, bench.test, bench.old)] == [40, 20, 20, 20]
    everything = torch.cat(rows)
    assert len(everything.unique(dim=0)) == len(everything)


def test_the_old_classes_are_the_first_five_of_the_test_file(data: Path, bench: FashionBench) -> None:
    _, test = fashion_mnist(data)
    known = {
        tuple(image.flatten().tolist()): int(label)
        for image, label in zip(pixels(test.images), test.labels, strict=True)
    }
    found = [known[tuple(image.flatten().tolist())] for image in bench.old.x]
    assert found == bench.old.y.tolist() and max(found) < 5
    good = bench.test.quality == 1
    new = [known[tuple(image.flatten().tolist())] - 5 for image in bench.test.x[good]]
    assert new == bench.test.y[good].tolist()


def test_every_second_image_has_lost_resolution(bench: FashionBench) -> None:
    for one in (bench.train, bench.validation, bench.test):
        assert torch.equal(one.quality[::2], torch.ones(len(one) // 2))
        assert bool((one.quality[1::2] <= 0.75).all()) and bool((one.quality >= 0).all())
        sharpness = one.x.diff(dim=-1).square().mean((1, 2, 3))
        assert sharpness[1::2].mean() < sharpness[::2].mean()
    assert bool((bench.old.quality == 1).all())


def test_a_second_prepare_has_the_same_base_and_data(data: Path, bench: FashionBench) -> None:
    (path,) = (data / "cache").iterdir()
    written = path.stat().st_mtime_ns
    again = TINY.prepare(data, data / "cache")
    pairs = zip(bench.base(3).state_dict().items(), again.base(3).state_dict().items(), strict=True)
    assert all(name == other and torch.equal(a, b) for (name, a), (other, b) in pairs)
    assert path.stat().st_mtime_ns == written
    assert torch.equal(bench.train.x, again.train.x) and torch.equal(bench.test.quality, again.test.quality)


def test_the_seed_orders_batches_and_starts_the_head(bench: FashionBench) -> None:
    def drawn(seed: int) -> torch.Tensor:
        return torch.cat([one["x"] for one in bench.batches(4, seed)])

    assert torch.equal(drawn(0), drawn(0)) and not torch.equal(drawn(0), drawn(1))
    assert len(drawn(0).flatten(1).unique(dim=0)) == 40  # four batches of ten are each image once
    heads = [bench.head(bench.base(seed))[0] for seed in (0, 0, 1)]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


def test_the_adapter_reaches_every_linear_layer_of_the_encoder_and_no_head(bench: FashionBench) -> None:
    model = bench.base(0)
    adaptation = adapt(model, LoRA(rank=2), bench.targets)
    linear = {name for name, one in bench.base(0).named_modules() if isinstance(one, torch.nn.Linear)}
    assert set(adaptation.targets) == {name for name in linear if not name.startswith("heads")}
    assert len(adaptation.targets) == 6


def test_lora_lowers_the_loss_and_the_old_head_stays(bench: FashionBench) -> None:
    model = bench.base(0)
    old = model.get_parameter("heads.0.weight").detach().clone()
    adapted = Adapted(model, adapt(model, LoRA(rank=2), bench.targets))
    for parameter in bench.head(model):
        parameter.requires_grad_(True)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer, whole = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0), bench.train.part(slice(None))
    before = bench.loss(adapted, whole).item()
    for batch in bench.batches(TINY.steps, 0):
        optimizer.zero_grad()
        bench.loss(adapted, batch).backward()
        optimizer.step()
    assert bench.loss(adapted, whole).item() < before - 0.05
    assert torch.equal(model.get_parameter("heads.0.weight"), old)


def test_the_loss_and_the_scores_read_their_own_head(bench: FashionBench) -> None:
    model = bench.base(0).eval()
    adapted = Adapted(model)
    with torch.no_grad():
        output, batch = model(bench.test.x), bench.test.part(slice(None))
        assert_close(bench.loss(adapted, batch), F.cross_entropy(output[:, 5:], bench.test.y))
        scores = bench.score(adapted)
        assert scores.quality == pytest.approx(float((output[:, 5:].argmax(1) == bench.test.y).float().mean()))
        model.get_parameter("heads.1.bias").fill_(1e6)  # what the new head says is nothing to the old one
        assert bench.score(adapted).retention == scores.retention
        model.get_parameter("heads.0.bias").copy_(torch.tensor([1e6, 0, 0, 0, 0]))
        assert bench.score(adapted).retention == pytest.approx(float((bench.old.y == 0).float().mean()))


def test_each_image_comes_with_its_quality(bench: FashionBench) -> None:
    model = bench.base(0).eval()
    adaptation = adapt(model, PETALface(rank=2, init_up_std=0.5), bench.targets)
    assert list(adaptations(model)) == ["default"]
    batch = bench.train.part(slice(0, 4))
    assert {len(value) for value in batch.values()} == {4}
    with torch.no_grad():
        together = bench.run(Adapted(model, adaptation), batch)
        for row in range(4):
            with adaptation.context(quality=float(batch["quality"][row])):
                assert_close(
                    model(batch["x"][row : row + 1])[0], together[row], dtype=torch.float16
                )  # other products in a batch of one


def test_calibration_batches_run_through_the_model(bench: FashionBench) -> None:
    model, shown = bench.base(0), list(bench.calibration(2, 0))
    trained = list(bench.batches(2, 0))
    assert all(torch.equal(a["x"], b["x"]) for a, b in zip(shown, trained, strict=True))
    assert [model(**one).shape for one in shown] == [(10, 10), (10, 10)]


def test_splits_that_take_more_than_there_is_are_refused(data: Path) -> None:
    with pytest.raises(BenchError, match=r"140 \+ 20 images, but there are 150"):
        replace(TINY, adapted=140).prepare(data, data / "cache")

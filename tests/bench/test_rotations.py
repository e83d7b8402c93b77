# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import torch

from rankwise import LoRA, adapt
from rankwise.adapters.poly import Poly
from rankwise.bench.images import fashion_mnist, pixels, turned
from rankwise.bench.task import Adapted
from rankwise.bench.tasks.rotations import Rotations, RotationsBench
from rankwise.bench.vision import accuracy
from rankwise.testing import assert_close

TINY = Rotations(
    steps=8,
    batch_size=10,
    pretraining=60,
    pretraining_steps=6,
    adapted=31,
    validated=20,
    tested=30,
    width=16,
    depth=1,
    heads=2,
    sources=(0.0, 90.0),
    unseen=(180.0, -90.0, 30.0),
)


@pytest.fixture(scope="module")
def bench(data: Path) -> RotationsBench:
    return TINY.prepare(data, data / "cache")


def test_each_image_stands_under_the_angle_of_its_domain(data: Path, bench: RotationsBench) -> None:
    train, _ = fashion_mnist(data)
    labels = {tuple(x.flatten().tolist()): int(y) for x, y in zip(pixels(train.images), train.labels, strict=True)}
    assert bench.domains == 2 and bench.train.task.bincount().tolist() == [16, 15]
    for split in (bench.train, bench.validation):
        for x, y, task in zip(split.x, split.y, split.task, strict=True):
            upright = turned(x[None], -90.0 * int(task))
            assert labels[tuple(upright.flatten().tolist())] == int(y)


def test_held_out_angles_have_the_nearest_source_domain(bench: RotationsBench) -> None:
    # 180 is nearest to 90; -90 and 30 to 0
    assert bench.test.task.tolist() == [1] * 10 + [0] * 20
    assert torch.equal(turned(bench.test.x[:10], 180), bench.upright.x[::3])
    assert torch.equal(turned(bench.test.x[10:20], 90), bench.upright.x[1::3])
    assert torch.equal(turned(bench.upright.x[2::3], 30), bench.test.x[20:])
    assert torch.equal(bench.test.y[:10], bench.upright.y[::3])


def test_the_splits_are_disjoint(bench: RotationsBench) -> None:
    upright = [
        turned(one.x[one.task == task], -90.0 * task) for one in (bench.train, bench.validation) for task in (0, 1)
    ]
    everything = torch.cat([*upright, bench.upright.x]).flatten(1)
    assert len(everything.unique(dim=0)) == len(everything) == 31 + 20 + 30


def test_the_same_seed_gives_the_same_batches_and_every_seed_the_same_base(bench: RotationsBench) -> None:
    first, again, other = (next(bench.batches(1, seed))["x"] for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    states = [bench.base(seed).state_dict() for seed in (0, 1)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_nothing_but_the_adapter_trains_and_its_loss_falls(bench: RotationsBench) -> None:
    model = bench.base(0)
    adaptation = adapt(model, LoRA(rank=2), bench.targets)
    adapted, whole = Adapted(model, adaptation), bench.train.part(slice(None))
    assert bench.head(model) == []
    optimizer, before = torch.optim.AdamW(adaptation.parameters(), lr=3e-2), bench.loss(adapted, whole).item()
    for batch in bench.batches(TINY.steps, 0):
        optimizer.zero_grad()
        bench.loss(adapted, batch).backward()
        optimizer.step()
    assert bench.loss(adapted, whole).item() < before - 0.05


def test_scores_are_the_accuracies_of_their_splits(bench: RotationsBench) -> None:
    model = bench.base(0).eval()
    with torch.no_grad():
        scores = bench.score(Adapted(model))
        measured = [
            float(accuracy(model(one.x), one.y).mean()) for one in (bench.validation, bench.test, bench.upright)
        ]
    assert [scores.validation, scores.quality, scores.retention] == pytest.approx(measured)


def test_each_image_comes_with_its_domain(bench: RotationsBench) -> None:
    model = bench.base(0).eval()
    adaptation = adapt(model, Poly(rank=2, skills=2, tasks=2), bench.targets)
    with torch.no_grad():
        for adapter in adaptation.adapters.values():
            adapter.lora_b.normal_(generator=torch.Generator().manual_seed(0))
            adapter.logits.copy_(torch.tensor([[4.0, -4.0], [-4.0, 4.0]]))
        batch = bench.train.part(torch.tensor([0, 30]))
        assert sorted(batch["task"].tolist()) == [0, 1]
        together = bench.run(Adapted(model, adaptation), batch)
        for row in range(2):
            with adaptation.context(task=batch["task"][row]):
                assert_close(
                    model(batch["x"])[row], together[row], dtype=torch.float16
                )  # other products in a batch of one

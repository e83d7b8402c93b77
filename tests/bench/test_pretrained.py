# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rankwise.bench.pretrained import fingerprint, fit, pretrained
from rankwise.bench.task import BenchError
from rankwise.errors import CheckpointError


def shift(model: nn.Module) -> None:
    """A training that draws from the global generator, so that it never gives the same twice."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))


def forbidden(model: nn.Module) -> None:
    raise AssertionError("trained again")


def linear() -> nn.Linear:
    return nn.Linear(3, 2)


def test_a_second_call_reads_the_very_same_bits(tmp_path: Path) -> None:
    first = pretrained(tmp_path, "toy", {"steps": 3}, linear, shift)
    second = pretrained(tmp_path, "toy", {"steps": 3}, linear, forbidden)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not second.training
    (path,) = tmp_path.iterdir()  # no draft is left
    assert path.name.startswith("toy-") and path.suffix == ".safetensors"


def test_other_settings_and_other_tasks_have_their_own_file(tmp_path: Path) -> None:
    bases = [
        pretrained(tmp_path, task, {"steps": steps}, linear, shift).weight
        for task, steps in (("toy", 3), ("toy", 4), ("other", 3))
    ]
    assert len(list(tmp_path.iterdir())) == 3
    assert not torch.equal(bases[0], bases[1]) and not torch.equal(bases[0], bases[2])


def test_whoever_is_later_takes_what_is_there(tmp_path: Path) -> None:
    faster = {}

    def overtaken(model: nn.Module) -> None:
        faster["base"] = pretrained(tmp_path, "toy", {}, linear, shift)
        shift(model)

    slower = pretrained(tmp_path, "toy", {}, linear, overtaken)
    assert torch.equal(slower.weight, faster["base"].weight)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_training_that_is_cut_off_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="trained again"):
        pretrained(tmp_path, "toy", {}, linear, forbidden)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_and_another_model_are_refused(tmp_path: Path) -> None:
    pretrained(tmp_path, "toy", {}, linear, shift)
    with pytest.raises(BenchError, match="another model than the task 'toy'"):
        pretrained(tmp_path, "toy", {}, lambda: nn.Linear(3, 4), forbidden)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError):
        pretrained(tmp_path, "toy", {}, linear, forbidden)


def test_fit_solves_least_squares() -> None:
    generator = torch.Generator().manual_seed(0)
    x, wanted = torch.randn(32, 3, generator=generator), torch.randn(2, 3, generator=generator)
    model = nn.Linear(3, 2)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    losses = []

    def course() -> Iterator[Tensor]:
        for _ in range(150):
            losses.append((model(x) - x @ wanted.T).square().mean())
            yield losses[-1]

    fit(model, course(), 150, 0.1)
    assert model.training
    assert losses[-1] < 1e-2 * losses[0]


def test_the_fingerprint_is_that_of_the_bytes() -> None:
    a, b = torch.zeros(3), torch.tensor([0.0, 0.0, -0.0])
    assert fingerprint(a) == fingerprint(a.clone()) != fingerprint(b)
    assert fingerprint(a.new_ones(2, 3).T) == fingerprint(a.new_ones(3, 2))

# SPDX-License-Identifier: Apache-2.0
"""What is kept: checkpoints, resumed runs, copies, pickles, dtypes and seeds."""

import copy
import json
import pickle
from dataclasses import replace

import pytest
import torch

from rankwise import adaptations, load
from rankwise.core.method import Method
from rankwise.testing import trial
from rankwise.testing.grid import registered_name


@pytest.mark.feature("save")
def test_save_and_load_are_identical(cell, tmp_path):
    adaptation, x = trial.adapted(cell), cell.kind.inputs()
    adaptation.scale = 0.75
    adaptation.save(tmp_path / "first")
    loaded = load(cell.kind.model(), tmp_path / "first")
    assert loaded.method == cell.method and loaded.scale == 0.75
    assert trial.identical(trial.state(loaded), trial.state(adaptation))
    with trial.given(adaptation, trial.for_all(cell.method)):
        expected = adaptation.model.eval()(x)
    with trial.given(loaded, trial.for_all(cell.method)):
        assert torch.equal(loaded.model.eval()(x), expected)
    loaded.save(tmp_path / "second")
    for file in ("adapter.json", "adapter.safetensors"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


@pytest.mark.feature("resume")
def test_resuming_is_identical(cell, tmp_path):
    batches, dim = [cell.kind.inputs(step) for step in range(6)], cell.kind.batch_dim
    whole = trial.fresh(cell)
    trial.train(whole, trial.attached(whole), batches, dim)

    first = trial.fresh(cell)
    optimizer = trial.attached(first)
    trial.train(first, optimizer, batches[:3], dim)
    first.save(tmp_path / "adapter")
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    cut = {key: value.clone() for key, value in trial.state(first).items()}

    second = load(cell.kind.model(), tmp_path / "adapter")
    optimizer = trial.attached(second)
    optimizer.load_state_dict(torch.load(tmp_path / "optimizer.pt", weights_only=True))
    trial.train(second, optimizer, batches[3:], dim)
    assert trial.identical(trial.state(second), trial.state(whole))
    if cell.method.scheduled:
        trained = {name.rpartition(".")[2] for name, _ in whole.named_parameters()} | {"step"}
        moved = [key for key, value in trial.state(whole).items() if not torch.equal(value, cut[key])]
        assert any(key.rpartition(":")[2] not in trained for key in moved), "no event of the schedule after the cut"


@pytest.mark.feature("copy")
def test_a_deep_copy_is_independent(cell):
    adaptation, x = trial.adapted(cell), cell.kind.inputs()
    base = cell.kind.model().requires_grad_(False)(x)
    twin = adaptations(copy.deepcopy(adaptation.model.eval()))["default"]
    with trial.given(adaptation, trial.for_all(cell.method)):
        before = adaptation.model(x)
    with trial.given(twin, trial.for_all(cell.method)):
        assert torch.equal(twin.model(x), before)
        trial.perturb(twin, seed=5)
        assert not torch.equal(twin.model(x), before)
    twin.active = False
    trial.near(twin.model(x), base)
    with trial.given(adaptation, trial.for_all(cell.method)):
        assert torch.equal(adaptation.model(x), before)
    twin.remove()
    assert [type(m) for m in twin.model.modules()] == [type(m) for m in cell.kind.model().modules()]
    assert trial.state(adaptation).keys() != set()


@pytest.mark.feature("pickle")
def test_pickle_keeps_everything(cell):
    adaptation, x = trial.adapted(cell), cell.kind.inputs()
    model = adaptation.model.eval()
    twin = adaptations(pickle.loads(pickle.dumps(model)))["default"]
    assert [type(m) for m in twin.model.modules()] == [type(m) for m in model.modules()]
    assert trial.identical(trial.state(twin), trial.state(adaptation))
    with trial.given(adaptation, trial.for_all(cell.method)):
        expected = model(x)
    with trial.given(twin, trial.for_all(cell.method)):
        assert torch.equal(twin.model(x), expected)


@pytest.mark.feature("json")
def test_json_round_trip(cell):
    again = Method.from_dict(json.loads(json.dumps(cell.method.to_dict())))
    assert again == cell.method and type(again) is type(cell.method)
    built = [trial.fresh(replace(cell, method=method)) for method in (cell.method, again)]
    assert trial.identical(trial.state(built[0]), trial.state(built[1]))


@pytest.mark.feature("dtype")
def test_dtypes_are_what_was_asked_for(cell, tmp_path):
    model, x = cell.kind.model(), cell.kind.inputs()
    base = {name: parameter.dtype for name, parameter in model.named_parameters()}
    output = model(x).dtype
    own = torch.float64 if cell.kind.dtype == torch.float64 else torch.float32
    for asked, expected in ((None, own), (torch.float32, torch.float32), (torch.float64, torch.float64)):
        adaptation = trial.fresh(cell, model, dtype=asked)
        assert {value.dtype for value in floating(adaptation)} == {expected}
        trial.train(adaptation, trial.attached(adaptation), [x], cell.kind.batch_dim)
        assert {value.dtype for value in floating(adaptation)} == {expected}
        with trial.given(adaptation, trial.for_all(cell.method)):
            assert model(x).dtype == output
        adaptation.save(tmp_path / str(expected))
        again = load(cell.kind.model(), tmp_path / str(expected))
        assert {value.dtype for value in floating(again)} == {expected}
        adaptation.remove()
        assert {name: parameter.dtype for name, parameter in model.named_parameters()} == base


def floating(adaptation) -> list[torch.Tensor]:
    modules = [*adaptation.adapters.values(), *([adaptation.shared] if adaptation.shared is not None else [])]
    tensors = [t for module in modules for t in (*module.parameters(), *module.buffers())]
    return [t for t in tensors if t.is_floating_point()]


@pytest.mark.feature("seed")
def test_the_seed_determines_everything(cell):
    def built(seed: int, noise: int) -> dict[str, torch.Tensor]:
        model = cell.kind.model()
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        adaptation = trial.fresh(cell, model, seed=seed)
        assert torch.equal(torch.get_rng_state(), before), "the global generator was used"
        with trial.given(adaptation, trial.for_all(cell.method)):
            output = adaptation.model.eval()(cell.kind.inputs())
        return trial.state(adaptation) | {"output": output}

    assert trial.identical(built(3, noise=0), built(3, noise=1))
    assert registered_name(cell.method) in str(cell)

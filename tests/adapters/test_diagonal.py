# SPDX-License-Identifier: Apache-2.0
"""What SVFit and LoLDU share: the start, merging, stacks, dtypes, weight decay, the check of the base at loading."""

from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from random_layers import draw, filled, moved
from rankwise import CheckpointError, LoRA, adapt, load
from rankwise.adapters.loldu import LoLDU
from rankwise.adapters.svfit import SVFit
from rankwise.core.method import Method
from rankwise.testing import assert_close

METHODS = [
    SVFit(),
    SVFit(rank=2),
    SVFit(energy=0.9),
    SVFit(relative=True),
    LoLDU(),
    LoLDU(rank=2, alpha=5.0),
    LoLDU(init="lu", alpha=3.0),
    LoLDU(init="constant", train_sigma=False),
    LoLDU(init="normal"),
]
EACH = pytest.mark.parametrize("method", METHODS, ids=str)
BOTH = pytest.mark.parametrize("method", [SVFit(), LoLDU()], ids=["svfit", "loldu"])


def linear(dtype: torch.dtype = torch.float64, seed: int = 3) -> nn.Sequential:
    return nn.Sequential(filled(nn.Linear(7, 5), dtype, seed))


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Parameter(draw(3, 5, 4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("eoi,bi->beo", self.up, x)


LAYERS = {
    "linear": (lambda: nn.Linear(7, 5), draw(4, 3, 7)),
    "conv": (lambda: nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=1), draw(2, 4, 6, 5)),
    "conv-grouped": (lambda: nn.Conv1d(6, 4, 3, groups=2), draw(2, 6, 8)),
    "embedding": (lambda: nn.Embedding(9, 4), torch.tensor([[0, 3, 8], [3, 1, 5]])),
}


@EACH
@pytest.mark.parametrize("layer", LAYERS)
def test_the_start_is_the_base_to_the_last_bit(layer: str, method: Method) -> None:
    build, x = LAYERS[layer]
    x = x if x.dtype == torch.int64 else x.float()
    model = nn.Sequential(filled(build(), torch.float32))
    before, weight = model(x), model[0].weight.detach().clone()
    adaptation = adapt(model, method, ["0"])
    assert torch.equal(model(x), before)
    adaptation.merge()
    assert torch.equal(model[0].weight, weight)


@BOTH
def test_disabled_is_the_base(method: Method) -> None:
    model, x = linear(), draw(3, 7)
    before = model(x)
    adaptation = moved(adapt(model, method, ["0"]))
    assert not torch.allclose(model(x), before)
    with adaptation.disabled():
        assert torch.equal(model(x), before)


@BOTH
@pytest.mark.parametrize("layer", LAYERS)
def test_forward_delta_and_merge_agree(layer: str, method: Method) -> None:
    build, x = LAYERS[layer]
    model = nn.Sequential(filled(build()))
    adaptation = moved(adapt(model, method, ["0"]))
    adaptation.scale = 0.5
    output, base = model(x), model[0].weight.detach().clone()
    delta = adaptation.targets["0"].to_storage(adaptation.adapters["0"].delta()).detach()
    adaptation.merge()
    assert_close(model[0].weight.detach(), base + 0.5 * delta)
    assert_close(model(x), output)
    adaptation.unmerge()
    assert torch.equal(model[0].weight, base)


@EACH
def test_a_stack_of_matrices_is_adapted_one_by_one(method: Method) -> None:
    model, x = Experts(), draw(2, 4)
    stacked = moved(adapt(model, method, ["up"])).adapters["up"]
    output = model(x)
    for expert in range(3):
        alone = nn.Sequential(nn.Linear(4, 5, bias=False)).double()
        with torch.no_grad():
            alone[0].weight.copy_(draw(3, 5, 4)[expert])
        own = SVFit(rank=stacked.change.shape[-1]) if method == SVFit(energy=0.9) else method
        adapter = adapt(alone, own, ["0"]).adapters["0"]
        with torch.no_grad():
            for parameter, source in zip(adapter.parameters(), stacked.parameters(), strict=True):
                parameter.copy_(source[expert])
            if isinstance(method, LoLDU):
                adapter.z0.copy_(stacked.z0[expert])  # drawn at random for the whole stack
        assert_close(output[:, expert], alone(x))


@EACH
def test_a_method_goes_to_plain_data_and_back(method: Method) -> None:
    assert Method.from_dict(method.to_dict()) == method


@BOTH
def test_what_trains_stays_in_float32(method: Method) -> None:
    model = linear(torch.float32)
    adapter = adapt(model, method, ["0"]).adapters["0"]
    saved = {name: value.clone() for name, value in adapter.state_dict().items()}
    model.bfloat16()
    assert adapter.left.dtype == adapter.right.dtype == torch.bfloat16
    for name, value in adapter.state_dict().items():
        assert value.dtype == saved[name].dtype and torch.equal(value, saved[name])
    x = draw(3, 7).bfloat16()
    before = model(x)
    optimizer = torch.optim.SGD(adapter.parameters(), lr=1.0)
    model(x).float().square().mean().backward()
    optimizer.step()
    assert model(x).dtype == torch.bfloat16
    assert not torch.equal(model(x), before)


@BOTH
def test_it_can_be_widened_to_float64(method: Method) -> None:
    model = linear(torch.float32)
    adapter = adapt(model, method, ["0"], dtype=torch.float64).adapters["0"]
    assert {value.dtype for value in (*adapter.parameters(), adapter.left, adapter.probe)} == {torch.float64}


@BOTH
def test_weight_decay_pulls_towards_the_base(method: Method) -> None:
    model, x = linear(), draw(3, 7)
    before = model(x)
    adaptation = moved(adapt(model, method, ["0"]))
    optimizer = torch.optim.AdamW(adaptation.parameters(), lr=0.5, weight_decay=1.0)
    for _ in range(60):
        for parameter in adaptation.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    assert_close(model(x), before)


@EACH
def test_a_checkpoint_restores_the_function_to_the_last_bit(method: Method, tmp_path: Path) -> None:
    model, x = nn.Sequential(filled(nn.Linear(30, 20), torch.float32)), draw(4, 30, dtype=torch.float32)
    moved(adapt(model, method, ["0"])).save(tmp_path)
    fresh = nn.Sequential(filled(nn.Linear(30, 20), torch.float32))
    load(fresh, tmp_path)
    assert torch.equal(fresh(x), model(x))


@BOTH
@pytest.mark.parametrize("size", [0.0, 0.4])
def test_another_base_is_refused_even_if_asked_for(method: Method, size: float, tmp_path: Path) -> None:
    moved(adapt(linear(), method, ["0"]), size).save(tmp_path)
    other = linear(seed=9)
    with pytest.raises(CheckpointError, match=r"adapter.safetensors: '0': the .* another function"):
        load(other, tmp_path, other_base=True)
    assert type(other[0]) is nn.Linear


@BOTH
def test_a_change_of_one_column_of_a_wide_base_is_noticed(method: Method, tmp_path: Path) -> None:
    moved(adapt(linear(), method, ["0"])).save(tmp_path)
    other = linear()
    with torch.no_grad():
        other[0].weight[:, 6] *= -1  # no pivot and no singular value sees the sign of the last column
    with pytest.raises(CheckpointError, match="the frozen directions"):
        load(other, tmp_path, other_base=True)


@BOTH
def test_one_matrix_of_a_stack_that_differs_is_noticed(method: Method, tmp_path: Path) -> None:
    moved(adapt(Experts(), method, ["up"])).save(tmp_path)
    load(Experts(), tmp_path)
    other = Experts()
    with torch.no_grad():
        other.up[1] = draw(5, 4, seed=8)
    with pytest.raises(CheckpointError, match="'up'"):
        load(other, tmp_path, other_base=True)


@BOTH
def test_a_copy_of_the_base_in_half_precision_is_accepted(method: Method, tmp_path: Path) -> None:
    def layer() -> nn.Sequential:
        return nn.Sequential(filled(nn.Linear(120, 40), torch.float32))

    adapted = moved(adapt(layer(), method, ["0"]))
    adapted.save(tmp_path)
    again = load(layer().bfloat16(), tmp_path)
    delta = adapted.adapters["0"].delta().detach()
    error = torch.linalg.matrix_norm(again.adapters["0"].delta().detach() - delta) / torch.linalg.matrix_norm(delta)
    assert 1e-4 < float(error) < 0.1


@pytest.mark.slow
def test_digits_turned_by_a_quarter_are_learned_from_a_diagonal() -> None:
    """From 300 labels: far above the head alone, near LoRA with nine times as many parameters."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    x, y = torch.tensor(images / 16.0).float()[order], torch.tensor(labels)[order]
    turned = torch.rot90(x.reshape(-1, 8, 8), 1, (1, 2)).reshape(-1, 64)

    def fit(model: nn.Module, parameters: list[Tensor], x: Tensor, y: Tensor, lr: float, steps: int) -> None:
        generator, optimizer = torch.Generator().manual_seed(1), torch.optim.Adam(parameters, lr=lr)
        for _ in range(steps):
            rows = torch.randint(len(x), (64,), generator=generator)
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()

    def accuracy(method: Method | None, lr: float) -> float:
        torch.manual_seed(0)
        layers = [nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()]
        model = nn.Sequential(*layers, nn.Linear(128, 10))
        fit(model, list(model.parameters()), x, y, 1e-3, 600)
        head = list(model[-1].parameters())
        added = [] if method is None else list(adapt(model, method, ["0", "2", "4"]).parameters())
        model.requires_grad_(False)
        for parameter in (*head, *added):
            parameter.requires_grad_()
        fit(model, [*head, *added], turned[:300], y[:300], lr, 400)
        return float((model(turned[300:]).argmax(1) == y[300:]).float().mean())

    head_alone, lora = accuracy(None, 2e-2), accuracy(LoRA(rank=4, alpha=4), 2e-2)
    svfit, loldu = accuracy(SVFit(), 2e-2), accuracy(LoLDU(init="lu"), 5e-3)
    assert svfit > head_alone + 0.10 and svfit > lora - 0.03
    assert loldu > head_alone + 0.08

# SPDX-License-Identifier: Apache-2.0
"""RandLoRA folders that PEFT wrote give the same function here, and what cannot is refused."""

import copy
import json

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from rankwise import CheckpointError, load
from rankwise.integrations.peft.randlora import import_randlora
from rankwise.testing import assert_close

peft = pytest.importorskip("peft")


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up, self.down, self.conv = nn.Linear(12, 20), nn.Linear(20, 9), nn.Conv1d(1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(torch.tanh(self.up(x)))


X = torch.randn(5, 12, generator=torch.Generator().manual_seed(1))


def saved(folder, **options) -> Tensor:
    """Write a trained adapter with PEFT, and give its output."""
    config = peft.RandLoraConfig(
        **{"r": 4, "randlora_alpha": 6, "projection_prng_key": 3, "target_modules": ["up", "down"]} | options
    )
    model = peft.get_peft_model(Model(), config)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lambda" in name or "gamma" in name:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(folder)
    with torch.no_grad():
        return model.eval()(X)


@pytest.mark.parametrize("options", [{}, {"sparse": True}, {"save_projection": False}])
@pytest.mark.filterwarnings("ignore:Specified to not save basis_A")
def test_an_imported_adapter_is_the_same_function_and_can_be_saved_without_bases(tmp_path, options):
    expected = saved(tmp_path / "peft", **options)
    base = Model()
    plain = copy.deepcopy(base)(X)
    adaptation = import_randlora(base, tmp_path / "peft")
    with torch.no_grad():
        assert_close(adaptation.model(X), expected)
        assert not torch.allclose(plain, expected, atol=1e-3)
        adaptation.save(tmp_path / "own")
        assert torch.equal(load(Model(), tmp_path / "own").model(X), adaptation.model(X))


def edited(folder, **changes) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "LORA"}, "import_randlora reads 'RANDLORA'"),
        ({"bias": "all"}, "'bias' is 'all'"),
        ({"modules_to_save": ["head"]}, "modules_to_save"),
        ({"r": "4"}, "'r' has the wrong type str"),
        ({"r": None}, "r is missing"),
        ({"r": 3}, "missing or of another shape"),
        ({"projection_prng_key": 4}, "is not what its key draws"),
        ({"target_modules": ["conv"]}, "adapts linear layers alone"),
        ({"target_modules": ["nothing"]}, "the model has none"),
        ({"target_modules": ["up"]}, "unexpected"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_the_model_alone(tmp_path, changes, message):
    saved(tmp_path)
    edited(tmp_path, **changes)
    model = Model()
    with pytest.raises(CheckpointError, match=message):
        import_randlora(model, tmp_path)
    assert type(model.up) is nn.Linear


def test_a_missing_tensor_is_named(tmp_path):
    saved(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    tensors = safetensors.torch.load_file(path)
    del tensors["base_model.model.down.randlora_gamma"]
    safetensors.torch.save_file(tensors, path)
    with pytest.raises(CheckpointError, match=r"down\.randlora_gamma"):
        import_randlora(Model(), tmp_path)

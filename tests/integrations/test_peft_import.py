# SPDX-License-Identifier: Apache-2.0
"""A folder that PEFT wrote becomes an adaptation with the same outputs, or an error and nothing else."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from rankwise import CheckpointError, DoRA, LoRA, adapt, adaptations
from rankwise.integrations.peft import export_peft, import_peft
from rankwise.testing.kinds import KINDS, Kind
from rankwise.testing.trial import near, perturb

peft = pytest.importorskip("peft")

LAYERS = ["linear", "hf-conv1d", "conv1d", "conv3d", "embedding", "mha-in-proj"]
PARAMETERS = ["lstm", "gru", "raw-matrix", "experts-3d"]
SETTINGS: list[dict[str, Any]] = [
    {"use_rslora": True},
    {"rank_pattern": {"late": 3, r"late\..*": 3}, "alpha_pattern": {"early": 5, r"early\..*": 5}},
    {"r": 12},
]
pytestmark = [
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*LoRA tensor.* have invalid shape.*lora_B.bias"),
    pytest.mark.filterwarnings("ignore:.*pattern keys did not match:RuntimeWarning"),
]


class Two(nn.Module):
    """Two layers in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))


def saved(base: nn.Module, folder: Path, **settings: Any) -> nn.Module:
    """A LoRA of PEFT's with random tensors, saved to a folder."""
    config = peft.LoraConfig(**{"r": 2, "lora_alpha": 3, "init_lora_weights": False} | settings)
    model = peft.get_peft_model(copy.deepcopy(base), config).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
            if "lora_embedding_A" in name:
                parameter[:, 2] = 0  # the padding entry, which no training of PEFT's moves either
    model.save_pretrained(folder)
    return model


def edited(folder: Path, **values: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def with_tensors(folder: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = safetensors.torch.load(path.read_bytes())
    change(tensors)
    path.write_bytes(safetensors.torch.save(tensors))


def pick(names: list[str]) -> list[Kind]:
    return [kind for kind in KINDS if kind.name in names]


def by_name(value: object) -> str | None:
    return value.name if isinstance(value, Kind) else None


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("kind", pick(LAYERS + PARAMETERS), ids=by_name)
def test_lora_of_peft_computes_the_same(kind: Kind, settings: dict, tmp_path: Path):
    base, x = kind.model(torch.float32), kind.inputs() if kind.entries else kind.inputs(dtype=torch.float32)
    inner = [f"{name}.{leaf}" for name in ("late", "early") for leaf in kind.leaves]
    named = {"target_modules": ["late", "early"]}
    theirs = saved(base, tmp_path, **(named if kind.name in LAYERS else {"target_parameters": inner}), **settings)
    adaptation = import_peft(base, tmp_path)
    assert isinstance(adaptation.method, LoRA)
    near(base(x), theirs(x))


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("kind", pick(["linear", "hf-conv1d", "conv1d", "conv3d"]), ids=by_name)
def test_dora_of_peft_computes_the_same(kind: Kind, settings: dict, tmp_path: Path):
    base, x = kind.model(torch.float32), kind.inputs(dtype=torch.float32)
    theirs = saved(base, tmp_path, target_modules=["late", "early"], use_dora=True, **settings)
    adaptation = import_peft(base, tmp_path)
    assert isinstance(adaptation.method, DoRA)
    near(base(x), theirs(x))


def test_biases_of_the_factors_come_along(tmp_path: Path):
    base, x = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4)), torch.ones(2, 6)
    theirs = saved(base, tmp_path, target_modules=["0", "1"], lora_bias=True)
    assert import_peft(base, tmp_path).method == LoRA(rank=2, alpha=3, bias=True)
    near(base(x), theirs(x))


@pytest.mark.parametrize(
    "target_modules, expected",
    [(["first"], {"first"}), ("fir.*", {"first"}), (["first", "second"], {"first", "second"})],
)
def test_the_named_layers_are_adapted(target_modules: object, expected: set, tmp_path: Path):
    saved(Two(), tmp_path, target_modules=target_modules)
    assert set(import_peft(Two(), tmp_path).targets) == expected


def test_layers_by_number_and_exclusion(tmp_path: Path):
    base = nn.ModuleDict({"layers": nn.ModuleList(nn.ModuleDict({"q": nn.Linear(4, 4)}) for _ in range(3))})
    holder = nn.ModuleDict({"body": base})
    chosen = {"target_modules": ["q"], "layers_to_transform": [0, 2], "layers_pattern": "layers"}
    saved(holder, tmp_path, **chosen, exclude_modules=["layers.0.q"])
    assert set(import_peft(holder, tmp_path).targets) == {"body.layers.2.q"}


def test_there_and_back_is_the_same_to_the_last_bit(tmp_path: Path):
    model, x = Two(), torch.ones(3, 6)
    base = copy.deepcopy(model)
    adaptation = adapt(model, LoRA(rank=2, alpha=3, dropout=0.1, stabilized=True), ranks={"first": 3})
    perturb(adaptation)
    export_peft(adaptation, tmp_path)
    again = import_peft(base, tmp_path, name="again")
    assert again.name == "again" and again.method.dropout == 0.1
    model.eval(), base.eval()
    assert torch.equal(base(x), model(x))


@pytest.mark.parametrize(
    "field, value",
    [
        ("modules_to_save", ["second"]),
        ("bias", "all"),
        ("init_lora_weights", "pissa"),
        ("trainable_token_indices", [1]),
        ("layer_replication", [[0, 2]]),
        ("use_qalora", True),
        ("a_feature_of_tomorrow", 3),
    ],
)
def test_a_feature_that_rankwise_lacks_is_named_and_nothing_is_done(field: str, value: object, tmp_path: Path):
    saved(Two(), tmp_path, target_modules=["first"])
    edited(tmp_path, **{field: value})
    model = Two()
    with pytest.raises(CheckpointError, match=field):
        import_peft(model, tmp_path)
    assert adaptations(model) == {} and type(model.first) is nn.Linear
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_setting_that_says_nothing_is_passed_over(tmp_path: Path):
    saved(Two(), tmp_path, target_modules=["first"])
    edited(tmp_path, a_feature_of_tomorrow=None, another=False)
    assert import_peft(Two(), tmp_path).method == LoRA(rank=2, alpha=3)


def test_another_peft_type_is_refused(tmp_path: Path):
    peft.get_peft_model(Two(), peft.LoHaConfig(target_modules=["first"])).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="peft_type is 'LOHA'"):
        import_peft(Two(), tmp_path)


def test_missing_extra_and_mis_shaped_tensors_are_all_named(tmp_path: Path):
    saved(Two(), tmp_path, target_modules=["first", "second"])

    def change(tensors: dict[str, Tensor]) -> None:
        del tensors["base_model.model.first.lora_A.weight"]
        tensors["base_model.model.third.lora_A.weight"] = torch.zeros(2)
        tensors["base_model.model.second.lora_B.weight"] = torch.zeros(4, 3)

    with_tensors(tmp_path, change)
    with pytest.raises(CheckpointError) as caught:
        import_peft(Two(), tmp_path)
    text = str(caught.value)
    assert "missing: first.lora_A.weight" in text and "unexpected: third.lora_A.weight" in text
    assert "second.lora_B.weight: expected [4, 2], found [4, 3]" in text


def test_pickled_tensors_are_refused_unread(tmp_path: Path):
    model = peft.get_peft_model(Two(), peft.LoraConfig(target_modules=["first"]))
    model.save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(CheckpointError, match="a pickle that would run code"):
        import_peft(Two(), tmp_path)


def test_values_that_are_not_finite_are_refused(tmp_path: Path):
    saved(Two(), tmp_path, target_modules=["first"])
    with_tensors(tmp_path, lambda tensors: tensors["base_model.model.first.lora_A.weight"].fill_(torch.nan))
    with pytest.raises(CheckpointError, match="holds NaN or infinite values"):
        import_peft(Two(), tmp_path)


def test_a_tied_head_that_only_one_side_was_trained_of_is_refused(tmp_path: Path):
    (kind,) = pick(["tied-embedding-head"])
    base = kind.model(torch.float32)
    saved(base, tmp_path, target_modules=["table"])
    with pytest.raises(CheckpointError, match="shares its weight with another layer"):
        import_peft(base, tmp_path)


def test_an_output_projection_that_peft_never_called_is_refused(tmp_path: Path):
    (kind,) = pick(["mha-out-proj"])
    base = kind.model(torch.float32)
    saved(base, tmp_path, target_modules=["out_proj"])
    with pytest.raises(CheckpointError, match="PEFT's adapter there is never called"):
        import_peft(base, tmp_path)


@pytest.mark.filterwarnings("ignore:LoRA adapter added to ConvNd layer with groups:UserWarning")
def test_an_adapter_across_groups_is_refused(tmp_path: Path):
    (kind,) = pick(["conv-grouped"])
    base = kind.model(torch.float32)
    saved(base, tmp_path, target_modules=["late", "early"])
    with pytest.raises(CheckpointError, match="reads channels across the 2 groups"):
        import_peft(base, tmp_path)

# SPDX-License-Identifier: Apache-2.0
"""A folder that rankwise writes for PEFT is loaded by PEFT with the same outputs."""

import copy
import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import rankwise
from rankwise import DoRA, Hydra, LoRA, MethodError, TargetError, adapt
from rankwise.core.method import Method
from rankwise.integrations.peft import export_peft
from rankwise.testing.kinds import KINDS, Kind
from rankwise.testing.trial import near, perturb

peft = pytest.importorskip("peft")

CANNOT = {
    "conv2d": "without the layer's dilation",
    "conv-transpose2d": "no adapter for transposed convolutions",
    "conv-transpose-grouped": "no adapter for transposed convolutions",
    "encoder-layer": "reads its weights around PEFT's adapters",
    "tied-embedding-head": "users of a tied weight one by one",
}
NO_DORA = ["conv-grouped", "conv-depthwise", "mha-in-proj", "mha-separate-qkv", "mha-out-proj", "lstm", "gru"]
NO_DORA += ["raw-matrix", "experts-3d"]
PLAIN = [kind for kind in KINDS if kind.dtype == torch.float64 or kind.quantized]
HELD = [kind for kind in PLAIN if kind.name not in CANNOT]
pytestmark = [
    pytest.mark.filterwarnings("ignore:LoRA adapter added to ConvNd layer with groups:UserWarning"),
    pytest.mark.filterwarnings("ignore:TorchaoLoraLinear was instantiated:UserWarning"),
]


def by_name(kind: Kind) -> str:
    return kind.name


def base_and_input(kind: Kind) -> tuple[nn.Module, Tensor]:
    model = kind.model() if kind.quantized else kind.model(torch.float32)
    if kind.name == "embedding":
        with torch.no_grad():
            for layer in (model.late, model.early):
                layer.weight[2] = 0  # the padding row, as torch initializes it
    return model, kind.inputs() if kind.entries else kind.inputs(dtype=torch.float32)


def in_peft(base: nn.Module, folder: Path, x: Tensor) -> Tensor:
    return peft.PeftModel.from_pretrained(copy.deepcopy(base), folder).eval()(x)


def trained(model: nn.Module, method: Method, kind: Kind, **options: object) -> rankwise.Adaptation:
    adaptation = adapt(model, method, kind.targets, **options)
    perturb(adaptation)
    return adaptation


@pytest.mark.parametrize("method", [LoRA(rank=2, alpha=3, stabilized=True), LoRA(rank=2, init="pissa")])
@pytest.mark.parametrize("kind", HELD, ids=by_name)
def test_lora_computes_the_same_in_peft(kind: Kind, method: LoRA, tmp_path: Path):
    model, x = base_and_input(kind)
    base = copy.deepcopy(model)
    adaptation = trained(model, method, kind)
    adaptation.scale = 0.7
    export_peft(adaptation, tmp_path)
    near(in_peft(base, tmp_path, x), model(x), torch.float32)


@pytest.mark.parametrize("kind", [kind for kind in HELD if kind.name not in NO_DORA], ids=by_name)
def test_dora_computes_the_same_in_peft(kind: Kind, tmp_path: Path):
    model, x = base_and_input(kind)
    base = copy.deepcopy(model)
    export_peft(trained(model, DoRA(rank=2, alpha=3), kind), tmp_path)
    near(in_peft(base, tmp_path, x), model(x), torch.float32)


@pytest.mark.parametrize("kind", [kind for kind in PLAIN if kind.name in CANNOT], ids=by_name)
def test_what_peft_cannot_hold_is_refused_before_a_file_is_written(kind: Kind, tmp_path: Path):
    adaptation = trained(base_and_input(kind)[0], LoRA(rank=2), kind)
    with pytest.raises(TargetError, match=CANNOT[kind.name]):
        export_peft(adaptation, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [kind for kind in PLAIN if kind.name in NO_DORA], ids=by_name)
def test_dora_where_peft_has_none_is_refused(kind: Kind, tmp_path: Path):
    with pytest.raises(TargetError, match="PEFT has no DoRA for"):
        export_peft(trained(base_and_input(kind)[0], DoRA(rank=2), kind), tmp_path)


def test_ranks_of_their_own_become_patterns_that_match_only_their_weight(tmp_path: Path):
    model = nn.Sequential(nn.ModuleDict({"0": nn.Linear(6, 6)})["0"], nn.Sequential(nn.Linear(6, 6)), nn.Linear(6, 4))
    base, x = copy.deepcopy(model), torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    adaptation = adapt(model, LoRA(rank=2), ["0", "2"], ranks={"0": 3})
    perturb(adaptation)
    export_peft(adaptation, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert set(adaptation.targets) == {"0", "1.0", "2"}
    assert config["rank_pattern"] == {"^2": 2} or config["rank_pattern"] == {"^0": 3, r"^1\.0": 3}
    near(in_peft(base, tmp_path, x), model(x))


def test_targets_that_no_list_of_names_can_say_become_an_expression(tmp_path: Path):
    model = nn.ModuleDict({"lin": nn.Linear(4, 4), "block": nn.ModuleDict({"lin": nn.Linear(4, 4)})})
    adaptation = adapt(model, LoRA(rank=2), "lin")
    export_peft(adaptation, tmp_path)
    wanted = json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"]
    assert isinstance(wanted, str)
    assert re.fullmatch(wanted, "lin") and not re.fullmatch(wanted, "block.lin")


def test_biases_are_held_where_peft_has_them(tmp_path: Path):
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4))
    base, x = copy.deepcopy(model), torch.ones(2, 6)
    adaptation = adapt(model, LoRA(rank=2, bias=True))
    perturb(adaptation)
    export_peft(adaptation, tmp_path)
    near(in_peft(base, tmp_path, x), model(x))


def test_biases_beside_an_embedding_are_refused(tmp_path: Path):
    model = nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 4))
    adaptation = adapt(model, LoRA(rank=2, bias=True), ["0", "1"])
    with pytest.raises(TargetError, match="PEFT refuses lora_bias"):
        export_peft(adaptation, tmp_path)


def test_another_method_names_the_way_through_lora(tmp_path: Path):
    model = nn.Sequential(nn.Linear(6, 5))
    base, x = copy.deepcopy(model), torch.ones(2, 6)
    adaptation = adapt(model, Hydra(rank_parallel=1, rank_sequential=1), ["0"])
    perturb(adaptation)
    with pytest.raises(MethodError, match=r"convert\(LoRA\(rank=\.\.\.\)\)"):
        export_peft(adaptation, tmp_path)
    export_peft(adaptation.convert(LoRA(rank=5, bias=True)).adaptation, tmp_path)
    near(in_peft(base, tmp_path, x), model(x))


def test_a_scaled_dora_is_refused(tmp_path: Path):
    adaptation = adapt(nn.Sequential(nn.Linear(6, 5)), DoRA(rank=2), ["0"])
    adaptation.scale = 0.5
    with pytest.raises(MethodError, match="PEFT's DoRA has none"):
        export_peft(adaptation, tmp_path)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_the_base_is_named_and_the_shortest_names_are_used(tiny_model: Path, tmp_path: Path):
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    base, x = copy.deepcopy(model), torch.arange(6)[None]
    adaptation = adapt(model, LoRA(rank=2), ["q_proj", "down_proj"])
    perturb(adaptation)
    export_peft(adaptation, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny_model)
    assert config["target_modules"] == ["down_proj", "q_proj"]
    loaded = peft.PeftModel.from_pretrained(base, tmp_path)
    near(loaded(input_ids=x).logits, model(input_ids=x).logits)


def test_pickled_tensors_in_the_folder_are_not_left_to_be_loaded_instead(tmp_path: Path):
    (tmp_path / "adapter_model.bin").touch()
    adaptation = adapt(nn.Sequential(nn.Linear(6, 5)), LoRA(rank=2), ["0"])
    with pytest.raises(rankwise.CheckpointError, match="choose another folder"):
        export_peft(adaptation, tmp_path)

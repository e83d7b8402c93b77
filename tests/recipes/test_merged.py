# SPDX-License-Identifier: Apache-2.0
import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import rankwise
from rankwise import CheckpointError, LoRA, adapt
from rankwise.recipes.converted import convert
from rankwise.recipes.errors import ModelError, OutputError, RecipeError
from rankwise.recipes.merged import Part, export, merge_into
from rankwise.recipes.tuned import open_tuned
from rankwise.testing import assert_close

INPUT = torch.tensor([[5, 17, 60, 2, 90]])


def base(tiny_model):
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)


@pytest.fixture(scope="module")
def folders(tiny_model, tmp_path_factory):
    """Two saved adapters with sizeable deltas, the first one with a recipe beside it."""
    found = []
    for seed, targets in ((0, "all-linear"), (1, "attention")):
        adaptation = adapt(base(tiny_model), LoRA(rank=3), targets, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for adapter in adaptation.adapters.values():
                adapter.left.copy_(0.1 * torch.randn(adapter.left.shape, generator=generator))
        folder = tmp_path_factory.mktemp("adapter")
        adaptation.save(folder)
        found.append(folder)
    (found[0] / "recipe.yaml").write_text(f"model: {json.dumps(str(tiny_model))}\n")
    return found


@torch.no_grad()
def outputs(model):
    return model.eval()(INPUT).logits.float()


def adapted(tiny_model, folders, scales):
    model = base(tiny_model)
    for number, (folder, scale) in enumerate(zip(folders, scales, strict=True)):
        rankwise.load(model, folder, name=f"n{number}").scale = scale
    return outputs(model)


def test_an_exported_model_answers_as_the_adapted_one(tiny_model, folders, tmp_path):
    report = export(folders[0], tmp_path / "out", None, "float32")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.float32 and report.worst < 1e-5
    assert_close(outputs(model), adapted(tiny_model, folders[:1], [1.0]))
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template
    assert not any(path.name.endswith(".partial") for path in tmp_path.iterdir())


def test_sixteen_bits_lose_what_the_report_says(tiny_model, folders, tmp_path):
    report = export(folders[0], tmp_path / "out", None, "bfloat16")
    weights = load_file(tmp_path / "out" / "model.safetensors")
    reference = base(tiny_model)
    delta = rankwise.load(reference, folders[0]).adapters["model.layers.1.mlp.up_proj"].delta().detach()
    name = "model.layers.1.mlp.up_proj"
    before = reference.get_parameter(f"{name}.weight").detach().bfloat16().double()
    written = weights[f"{name}.weight"].double() - before
    assert weights[f"{name}.weight"].dtype == torch.bfloat16
    assert report.lost[name] == pytest.approx(float((written - delta).norm() / delta.norm()), rel=1e-3)
    assert 0 < report.worst < 0.1


def test_several_adapters_add_up_with_their_scales(tiny_model, folders, tmp_path):
    report = merge_into(str(tiny_model), [Part(folders[0], 0.5), Part(folders[1], -2.0)], tmp_path / "out", "float32")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert_close(outputs(model), adapted(tiny_model, folders, [0.5, -2.0]))
    assert len(report.lost) == 14


def test_a_converted_adapter_is_the_same_at_full_rank_and_says_its_error_below(tiny_model, folders, tmp_path):
    errors = convert(folders[0], tmp_path / "full", None, 3, peft=False)
    assert max(errors.values()) < 1e-6
    assert_close(adapted(tiny_model, [tmp_path / "full"], [1.0]), adapted(tiny_model, folders[:1], [1.0]))
    assert min(convert(folders[0], tmp_path / "low", None, 1, peft=False).values()) > 0.1


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # PEFT still asks by the old name
def test_a_converted_adapter_is_one_that_peft_loads(tiny_model, folders, tmp_path):
    peft = pytest.importorskip("peft")
    convert(folders[0], tmp_path / "out", None, 3, peft=True)
    model = peft.PeftModel.from_pretrained(base(tiny_model), str(tmp_path / "out"))
    assert_close(outputs(model), adapted(tiny_model, folders[:1], [1.0]))


def test_a_merged_folder_opens_as_a_model_without_adapter(folders, tmp_path):
    export(folders[0], tmp_path / "out", None, "float32")
    assert open_tuned(tmp_path / "out", None, torch.float32).adaptation is None
    assert open_tuned(folders[0], None, torch.float32).adaptation.method == LoRA(rank=3)


def test_the_base_must_be_known_and_the_right_one(tiny_model, folders, tmp_path):
    with pytest.raises(ModelError, match=r"no recipe.yaml that names the base model; pass it with --model"):
        export(folders[1], tmp_path / "out", None, "float32")
    other = base(tiny_model)
    with torch.no_grad():
        other.get_parameter("model.layers.0.mlp.up_proj.weight").mul_(1.5)
    other.save_pretrained(tmp_path / "other")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path / "other")
    with pytest.raises(CheckpointError, match="trained on another base"):
        export(folders[0], tmp_path / "out", str(tmp_path / "other"), "float32")
    assert not (tmp_path / "out").exists()


def test_mistakes_leave_no_folder(folders, tiny_model, tmp_path):
    with pytest.raises(RecipeError, match="dtype must be one of bfloat16, float16, float32, got 'int8'"):
        export(folders[0], tmp_path / "out", None, "int8")
    with pytest.raises(ModelError, match="holds no adapter"):
        export(tmp_path, tmp_path / "out", None, "float32")
    with pytest.raises(RecipeError, match="nothing to merge"):
        merge_into(str(tiny_model), [], tmp_path / "out", "float32")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_left_alone(folders, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is not empty"):
        export(folders[0], tmp_path, None, "float32")
    with pytest.raises(OutputError, match="is not empty"):
        convert(folders[0], tmp_path, None, 2, peft=False)

# SPDX-License-Identifier: Apache-2.0
"""Every method of rankwise inside PEFT: what PEFT's own tests (`make peft-suite`) do not ask."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rankwise import CheckpointError, LoRA, MethodError, StateError, TargetError, adapt
from rankwise.core.method import methods
from rankwise.integrations.peft import register
from rankwise.testing.grid import reason, tiny
from rankwise.testing.kinds import KINDS, Kind
from rankwise.testing.trial import near

peft = pytest.importorskip("peft")
schedule = pytest.importorskip("rankwise.integrations.peft.schedule")

CONFIGS = register()
READ = ["mha-in-proj", "mha-separate-qkv", "encoder-layer", "lstm", "gru", "raw-matrix", "experts-3d"]
CALLED = ["linear", "hf-conv1d", "conv2d", "conv-grouped", "conv-transpose2d", "embedding", "torchao-int8"]


class Two(nn.Module):
    """Two layers in turn."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))


class TwoKernels(nn.Module):
    """Two convolutions in turn."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(6, 5, 3, padding=1), nn.Conv2d(5, 4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))


def fitting(method: str) -> tuple[nn.Module, Tensor]:
    """Two layers that the method is defined on, and an input for them."""
    generator = torch.Generator().manual_seed(1)
    if reason(method, "linear", "start") is None:
        return Two(), torch.randn(3, 6, generator=generator)
    return TwoKernels(), torch.randn(3, 6, 4, 4, generator=generator)


def wrapped(method: str, base: nn.Module | None = None, **fields: object) -> "peft.PeftModel":
    """A small method in PEFT, away from its start."""
    config = CONFIGS[method]
    own = {config.renamed[key]: value for key, value in tiny(methods()[method]).to_dict().items() if key != "method"}
    given = {"target_modules": ["first", "second"], "init_weights": False, "scheduled": False}
    inputs = {f"default_{name}": float(methods()[method].input_values[1]) for name in methods()[method].inputs}
    return peft.get_peft_model(base or fitting(method)[0], config(**own | given | inputs | fields)).eval()


def pick(names: list[str]) -> list[Kind]:
    return [kind for kind in KINDS if kind.name in names]


def test_registering_again_gives_the_same_classes():
    assert register() == CONFIGS
    assert set(CONFIGS) == {name for name, method in methods().items() if not method.calibrated}


def test_types_and_prefixes_are_rankwise_own():
    assert CONFIGS["lora"]().peft_type == "RWLORA"
    prefixes = [one.prefix for one in (wrapped(name).base_model for name in CONFIGS)]
    assert len(set(prefixes)) == len(prefixes) and all(prefix.startswith("rw") for prefix in prefixes)


def test_peft_methods_are_as_they_were():
    assert peft.LoraConfig().peft_type == "LORA"
    assert isinstance(peft.get_peft_model(Two(), peft.LoraConfig(target_modules=["first"])).base_model, peft.LoraModel)


@pytest.mark.parametrize("kind", pick(READ + CALLED), ids=lambda kind: kind.name)
def test_merge_equals_forward_on_every_kind_of_layer(kind: Kind):
    base = kind.model()
    x, plain = kind.inputs(), kind.model()
    if kind.name == "encoder-layer":
        modules = ["late.linear1", "late.self_attn", "early.linear2"]
    else:
        modules = ["late", "early"]
    model = peft.get_peft_model(base, CONFIGS["lora"](rank=2, target_modules=modules, init_weights=False)).eval()
    moved = model(x)
    assert not torch.allclose(moved, plain(x))
    with torch.no_grad():
        near(model(x), moved)
    if kind.quantized:
        return
    with model.disable_adapter():
        near(model(x), plain(x))
    near(model.merge_and_unload()(x), moved)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_each_method_computes_what_adapt_does(name: str):
    model, (twin, x) = wrapped(name, init_weights=True), fitting(name)
    adaptation = adapt(twin, model.peft_config["default"].method(), ["first", "second"])
    inside = model.base_model.rankwise_adapters("default")
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for target, adapter in adaptation.adapters.items():
            for one, other in zip(adapter.parameters(), inside[target].parameters(), strict=True):
                assert torch.equal(one, other)
                other.copy_(one.add_(0.3 * torch.randn(one.shape, generator=generator)))
    twin.eval()
    values = dict.fromkeys(adaptation.method.inputs, adaptation.method.input_values[1])
    if values:
        with adaptation.context(**values):
            near(model(x), twin(x))
    else:
        near(model(x), twin(x))


def test_an_output_projection_alone_is_reached():
    (kind,) = pick(["mha-out-proj"])
    base, x = kind.model(), kind.inputs()
    model = peft.get_peft_model(base, CONFIGS["lora"](rank=2, target_modules=["out_proj"], init_weights=False)).eval()
    moved = model(x)
    assert not torch.allclose(moved, kind.model()(x))
    moved.sum().backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if "rwlora" in name)
    near(model.merge_and_unload()(x), moved)


def test_each_row_gets_the_adapter_named_for_it():
    model, x = wrapped("dora"), torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    model.add_adapter("other", copy.deepcopy(model.peft_config["default"]))
    with model.disable_adapter():
        plain = model(x)
    first = model(x)
    model.set_adapter("other")
    second = model(x)
    mixed = model(x, adapter_names=["__base__", "default", "other"])
    near(mixed, torch.stack([plain[0], first[1], second[2]]))


def test_rows_cannot_have_adapters_of_their_own_where_a_weight_is_read():
    (kind,) = pick(["lstm"])
    config = CONFIGS["lora"](rank=2, target_modules=["late", "early"], init_weights=False)
    model = peft.get_peft_model(kind.model(), config).eval()
    with pytest.raises(StateError, match="is read as a weight"):
        model(kind.inputs(), adapter_names=["__base__", "default", "default"])


def test_a_method_with_a_schedule_does_not_train_without_it():
    model, x = wrapped("increlora", scheduled=True).train(), torch.ones(2, 6)
    with pytest.raises(StateError, match=r"schedule\.attach\(model, optimizer\)"):
        model(x)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    schedule.attach(model, optimizer)
    model(x).sum().backward()
    optimizer.step()
    with pytest.raises(StateError, match="attached to an optimizer already"):
        schedule.attach(model, optimizer)


def test_inputs_come_from_a_context_or_from_the_config():
    model, x = wrapped("petalface", default_quality=None), torch.ones(2, 6)
    with pytest.raises(StateError, match="quality"):
        model(x)
    with schedule.context(model, quality=[0.0, 1.0]):
        rows = model(x)
    with schedule.context(model, quality=0.0):
        near(rows[0], model(x)[0])
    with pytest.raises(StateError, match="they read: quality"), schedule.context(model, sharpness=1.0):
        pass


def test_ranks_by_pattern():
    model = wrapped("lora", rank_pattern={"first": 1})
    ranks = {name: adapter.left.shape[-1] for name, adapter in model.base_model.rankwise_adapters("default").items()}
    assert ranks == {"first": 1, "second": 2}


@pytest.mark.filterwarnings("ignore:The following rank_pattern keys did not match:RuntimeWarning")
def test_a_pattern_that_matches_nothing_is_refused():
    with pytest.raises(MethodError, match="matches none of the targets"):
        wrapped("lora", rank_pattern={"frist": 1})


@pytest.mark.parametrize(
    "fields, error, message",
    [
        ({"rank": 9}, MethodError, "rank 9 is above"),
        ({"target_modules": ["first", "norm"]}, TargetError, "holds no matrix and no kernel"),
    ],
)
def test_what_fails_changes_nothing(fields: dict, error: type[Exception], message: str):
    base = Two()
    base.norm = nn.LayerNorm(4)
    with pytest.raises(error, match=message):
        wrapped("lora", base, **fields)
    assert [type(module) for module in base.children()] == [nn.Linear, nn.Linear, nn.LayerNorm]


def test_a_second_adapter_that_fails_leaves_the_first():
    model, x = wrapped("lora"), torch.ones(2, 6)
    before = model(x)
    with pytest.raises(MethodError):
        model.add_adapter("wide", CONFIGS["lora"](rank=9, target_modules=["first"]))
    assert torch.equal(model(x), before)
    assert list(model.peft_config) == ["default"]


def test_an_attention_that_fails_leaves_the_adapter_of_its_output_projection():
    (kind,) = pick(["mha-out-proj"])
    base, x = kind.model(), kind.inputs()
    model = peft.get_peft_model(base, CONFIGS["lora"](rank=2, target_modules=["out_proj"], init_weights=False)).eval()
    before = model(x)
    with pytest.raises(MethodError):
        model.add_adapter("wide", CONFIGS["lora"](rank=9, target_modules=["late", "early"]))
    assert torch.equal(model(x), before)
    model.add_adapter("whole", CONFIGS["lora"](rank=2, target_modules=["late", "early"], init_weights=False, seed=1))
    assert torch.equal(model(x), before)
    model.set_adapter("whole")
    assert not torch.equal(model(x), before)


def test_unmerging_restores_the_bits():
    model = wrapped("lora")
    layer = model.base_model.model.first.base_layer
    before = layer.weight.clone()
    model.merge_adapter()
    assert not torch.equal(layer.weight, before)
    model.unmerge_adapter()
    assert torch.equal(layer.weight, before)


@pytest.mark.filterwarnings("ignore:Could not find a config file:UserWarning")
def test_another_base_is_refused_where_the_method_would_mean_something_else_on_it(tmp_path: Path):
    wrapped("svfit").save_pretrained(tmp_path)
    peft.PeftModel.from_pretrained(Two(), tmp_path)
    other = Two()
    with torch.no_grad():
        other.first.weight.neg_().add_(1)
    with pytest.raises(CheckpointError, match="differ by"):
        peft.PeftModel.from_pretrained(other, tmp_path)


def test_lora_has_peft_fields_and_its_own():
    config = CONFIGS["lora"](method_bias=True, bias="rwlora_only", alpha=3)
    assert config.method() == LoRA(alpha=3, bias=True)
    with pytest.raises(MethodError, match="bias must be one of none, all, rwlora_only"):
        CONFIGS["lora"](bias="lora_only")


def test_a_method_that_starts_from_data_is_refused():
    registration = pytest.importorskip("rankwise.integrations.peft.registration")
    with pytest.raises(MethodError, match="EVA starts from data"):
        registration.config("eva")

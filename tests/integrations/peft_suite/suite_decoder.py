# SPDX-License-Identifier: Apache-2.0
"""PEFT's checks of language models on a tiny random Llama, for every registered method.

PEFT runs these bodies on models of a hub; here the model is built from a seed. The two checks of mixed batches name
the methods they apply to; ours are put in their place.
"""

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rankwise.integrations.peft.config import RankwiseConfig

from . import suite_rows as rows
from . import testing_common
from .testing_common import PeftCommonTester
from .testing_utils import set_init_weights_false

IDENTITY = [
    "model_attr",
    "adapter_name",
    "prepare_for_training",
    "save_pretrained",
    "save_pretrained_selected_adapters",
    "load_model_low_cpu_mem_usage",
    "from_pretrained_config_construction",
    "load_multiple_adapters",
    "merge_layers_fp16",
    "generate",
    "generate_half_prec",
    "training",
    "inference_safetensors",
    "training_layer_indexing",
    "training_gradient_checkpointing",
    "peft_model_device_map",
    "delete_adapter",
    "delete_inactive_adapter",
    "delete_unknown_adapter_raises",
    "adding_multiple_adapters_with_bias_raises",
    "get_base_model_state_dict",
]
MOVED = [
    "merge_layers",
    "merge_layers_nan",
    "merge_layers_multi",
    "safe_merge",
    "merge_layers_is_idempotent",
    "unload_adapter",
    "disable_adapter",
    "lora_conversion",
]
SHAPE = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64}
CASES = [pytest.param(rows.CONFIGS[name], id=f"rw{name}") for name in rows.on_linear()]


class TinyLlama:
    """What PEFT's bodies take for a class of transformers."""

    @classmethod
    def from_pretrained(cls, name: str, dtype: torch.dtype | None = None) -> LlamaForCausalLM:
        """The model in a folder, or the one of the seed."""
        if Path(name).is_dir():
            return LlamaForCausalLM.from_pretrained(name, dtype=dtype or torch.float32)
        torch.manual_seed(0)
        config = LlamaConfig(**SHAPE, **HEADS, pad_token_id=0, bos_token_id=1, eos_token_id=2)
        config._name_or_path = name
        return LlamaForCausalLM(config).to(dtype or torch.float32)


class Tester(PeftCommonTester):
    """PEFT's bodies with a model and an input."""

    __test__ = False
    transformers_class = TinyLlama

    def prepare_inputs_for_testing(self) -> dict[str, torch.Tensor]:
        """Two short sentences, the second one padded."""
        return {
            "input_ids": torch.tensor([[1, 5, 7], [1, 9, 0]]),
            "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]]),
        }


def fields(config: type[RankwiseConfig]) -> dict[str, object]:
    """The arguments of a config on the tiny Llama."""
    values = rows.settings(config.method_class, 2, "Llama")
    return {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "v_proj", "down_proj"], **values}


@pytest.mark.parametrize("config", CASES)
@pytest.mark.parametrize("body", IDENTITY)
def test_from_the_start(body: str, config: type[RankwiseConfig]) -> None:
    getattr(Tester(), f"_test_{body}")("tiny-llama", config, fields(config))


@pytest.mark.parametrize("config", CASES)
@pytest.mark.parametrize("body", MOVED)
def test_away_from_the_start(body: str, config: type[RankwiseConfig]) -> None:
    getattr(Tester(), f"_test_{body}")("tiny-llama", config, set_init_weights_false(config, fields(config)))


@pytest.mark.parametrize("config", CASES)
@pytest.mark.parametrize("body", ["mixed_adapter_batches", "generate_with_mixed_adapter_batches_and_beam_search"])
def test_mixed(body: str, config: type[RankwiseConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing_common, "LoraConfig", config)
    getattr(Tester(), f"_test_{body}")("tiny-llama", config, set_init_weights_false(config, fields(config)))


@pytest.mark.parametrize("config", CASES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_no_autocast(config: type[RankwiseConfig], dtype: torch.dtype) -> None:
    Tester()._test_add_adapter_no_autocast_adapter_dtype("tiny-llama", config, fields(config), dtype)

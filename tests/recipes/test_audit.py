# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, TrainerControl, TrainerState, TrainingArguments

from rankwise import LoRA, adapt
from rankwise.errors import StateError
from rankwise.recipes.audit import FirstStep


@pytest.fixture
def adaptation():
    config = LlamaConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=20,
        bos_token_id=None,
    )
    return adapt(LlamaForCausalLM(config), LoRA(rank=2), targets=["q_proj", "up_proj"])


def began(adaptation, step=0):
    results = []
    audit = FirstStep(adaptation, {"input_ids": torch.tensor([[1, 2, 3]])}, results.append)
    audit.on_train_begin(TrainingArguments(), TrainerState(global_step=step), TrainerControl())
    return audit, results


def ended(audit, results):
    audit.on_step_end(TrainingArguments(), TrainerState(global_step=1), TrainerControl())
    return results[0] if results else None


def test_a_step_that_changes_every_adapter_and_the_output_passes(adaptation):
    audit = began(adaptation)
    with torch.no_grad():
        for adapter in adaptation.adapters.values():
            adapter.left.fill_(0.1)
    result = ended(*audit)
    assert (result.adapters, result.tensors, result.changed) == (4, 8, 4)
    assert result.output > 0 and "all 8 tensors" in str(result)


def test_an_adapter_that_did_not_change_is_named(adaptation):
    audit = began(adaptation)
    with torch.no_grad():
        for name, adapter in adaptation.adapters.items():
            adapter.left.fill_(0.1 if "layers.0" in name else 0.0)
    with pytest.raises(StateError, match=r"changed nothing in 2 of 4 adapters: model.layers.1.mlp.up_proj, "):
        ended(*audit)


def test_an_output_that_did_not_move_is_refused(adaptation):
    audit = began(adaptation)
    with torch.no_grad():
        for adapter in adaptation.adapters.values():
            adapter.right.mul_(2)  # the left factor is still zero
    with pytest.raises(StateError, match="answers exactly as without the adapter"):
        ended(*audit)


def test_an_output_that_is_not_finite_is_refused(adaptation):
    audit = began(adaptation)
    with torch.no_grad():
        for adapter in adaptation.adapters.values():
            adapter.left.fill_(float("inf"))
    with pytest.raises(StateError, match="not finite"):
        ended(*audit)


def test_a_resumed_run_is_not_audited_again(adaptation):
    assert ended(*began(adaptation, step=4)) is None

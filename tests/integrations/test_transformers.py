# SPDX-License-Identifier: Apache-2.0
"""The callback under transformers.Trainer gives what a plain loop gives, and what it saves goes on to the same bits."""

import pytest
import torch
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

import rankwise
from rankwise import IncreLoRA, LoRA, StateError, adapt
from rankwise.integrations.transformers import FOLDER, RankwiseCallback

GROWING = IncreLoRA(target_rank=2, top_h=3, init_warmup=1, incre_interval=1, total_steps=6, orthogonality=0.5)
BATCHES = torch.randint(0, 256, (12, 9), generator=torch.Generator().manual_seed(3))


def model(tiny_model):
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)


def trainer(adaptation, folder, **settings):
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=6,
        per_device_train_batch_size=2,
        learning_rate=1e-2,
        weight_decay=0.0,
        max_grad_norm=0.0,
        lr_scheduler_type="constant",
        train_sampling_strategy="sequential",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **settings,
    )
    data = [{"input_ids": row, "labels": row} for row in BATCHES]
    return Trainer(adaptation.model, arguments, train_dataset=data, callbacks=[RankwiseCallback(adaptation)])


def tensors(adaptation):
    return dict(adaptation.named_parameters())


@pytest.mark.parametrize("method", [LoRA(rank=2), GROWING], ids=["lora", "increlora"])
def test_training_equals_a_plain_loop(tiny_model, tmp_path, method):
    plain = adapt(model(tiny_model), method)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-2, weight_decay=0.0)
    plain.attach(optimizer)
    plain.model.train()
    for step in range(6):
        rows = BATCHES[2 * step : 2 * step + 2]
        plain.model(input_ids=rows, labels=rows).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    adaptation = adapt(model(tiny_model), method)
    trainer(adaptation, tmp_path, save_strategy="no").train()
    start = tensors(adapt(model(tiny_model), method))
    for name, tensor in tensors(adaptation).items():
        torch.testing.assert_close(tensor, tensors(plain)[name])
    assert any(not torch.equal(tensor, start[name]) for name, tensor in tensors(adaptation).items())


def test_a_saved_checkpoint_goes_on_to_the_same_bits(tiny_model, tmp_path):
    whole = adapt(model(tiny_model), GROWING)
    trainer(whole, tmp_path, save_steps=3).train()
    resumed = rankwise.load(model(tiny_model), tmp_path / "checkpoint-3" / FOLDER)
    trainer(resumed, tmp_path / "again", save_strategy="no").train(
        resume_from_checkpoint=str(tmp_path / "checkpoint-3")
    )
    for name, tensor in tensors(resumed).items():
        assert torch.equal(tensor, tensors(whole)[name])


def test_the_schedule_is_detached_afterwards_so_that_training_may_go_on(tiny_model, tmp_path):
    adaptation = adapt(model(tiny_model), LoRA(rank=2))
    for run in ("first", "second"):
        trainer(adaptation, tmp_path / run, save_strategy="no").train()


def test_an_optimizer_without_the_adapter_is_refused(tiny_model, tmp_path):
    adaptation = adapt(model(tiny_model), LoRA(rank=2))
    other = trainer(adaptation, tmp_path, save_strategy="no")
    other.optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(StateError, match="the optimizer does not hold"):
        other.train()

# SPDX-License-Identifier: Apache-2.0
"""transformers.Trainer for an adaptation: what differs is what a checkpoint holds and when it counts.

A checkpoint has the adapter with its schedule, the optimizer, the learning rate, the random numbers and the Trainer's
state, and not the frozen base. It is complete or not there (see checkpoints.py).
"""

import math
from pathlib import Path
from typing import Any

import torch
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from rankwise.core.adaptation import Adaptation
from rankwise.recipes.batches import Collator
from rankwise.recipes.checkpoints import prune, publish, staging
from rankwise.recipes.folder import writing
from rankwise.recipes.recipe import TuneRecipe


def learning_rate_factor(step: int, total: int, warmup: int) -> float:
    """The share of the peak learning rate at a step: up linearly from 1 / warmup, then half a cosine down to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def training_arguments(recipe: TuneRecipe, steps: int, checkpoints: Path) -> TrainingArguments:
    """What the Trainer is told; everything else stays as transformers has it."""
    return TrainingArguments(
        output_dir=str(checkpoints),
        max_steps=steps,
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulate,
        train_sampling_strategy="sequential",
        save_strategy="steps",
        save_steps=recipe.save_every,
        logging_steps=1,
        logging_nan_inf_filter=False,
        include_num_input_tokens_seen="non_padding",
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=True,
        report_to="none",
        seed=recipe.seed,
    )


class AdapterTrainer(Trainer):
    """A Trainer whose checkpoints hold the adapter and not the base.

    Attributes:
        adaptation: the adaptation that is trained.
        checkpoints: where the complete checkpoints are.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        adaptation: Adaptation,
        args: TrainingArguments,
        data: tuple[Dataset, Collator],
        callbacks: list[TrainerCallback],
        recipe: TuneRecipe,
    ) -> None:
        optimizer = AdamW(adaptation.parameters(), lr=recipe.learning_rate, weight_decay=0.0)
        total, warmup = args.max_steps, round(recipe.warmup * args.max_steps)
        schedule = LambdaLR(optimizer, lambda step: learning_rate_factor(step, total, warmup))
        super().__init__(
            model=model,
            args=args,
            train_dataset=data[0],
            data_collator=data[1],
            callbacks=callbacks,
            optimizers=(optimizer, schedule),
        )
        self.remove_callback(PrinterCallback)
        self.adaptation, self.checkpoints, self._staged = adaptation, Path(str(args.output_dir)), None

    _staged: Path | None

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        step = self.state.global_step
        advice = (
            f"Nothing half-written counts: free some space, then go on from the last complete checkpoint with "
            f"`rankwise tune --resume {self.checkpoints.parent}`."
        )
        with writing(f"the checkpoint of step {step}", advice):
            self._staged = staging(self.checkpoints)
            super()._save_checkpoint(model, trial)
            publish(self._staged / f"checkpoint-{step}", self.checkpoints)
            self._staged.rmdir()
            prune(self.checkpoints)
        self._staged = None

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staged or super()._get_output_dir(trial))

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        self.adaptation.save(output_dir or self.checkpoints)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        """Do nothing: the adapter comes onto the model by `rankwise.load`, before the optimizer is made."""

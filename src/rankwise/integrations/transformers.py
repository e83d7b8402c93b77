# SPDX-License-Identifier: Apache-2.0
"""Train an adaptation with transformers.Trainer, without a change to the Trainer or its loss.

    adaptation = adapt(model, LoRA(rank=16))
    trainer = Trainer(model, arguments, train_dataset=data, callbacks=[RankwiseCallback(adaptation)])
    trainer.train()

To resume, build the model, `adaptation = rankwise.load(model, checkpoint / FOLDER)`, and pass the same checkpoint to
`trainer.train(resume_from_checkpoint=...)`. Does not keep the frozen base out of the Trainer's own checkpoints.
"""

from pathlib import Path

import torch
from accelerate.optimizer import AcceleratedOptimizer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rankwise.core.adaptation import Adaptation

FOLDER = "rankwise"  # the adapter's folder inside a checkpoint of the Trainer


class RankwiseCallback(TrainerCallback):
    """Attaches an adaptation to the Trainer's optimizer, and saves it with every checkpoint.

    Attributes:
        adaptation: the adaptation that the Trainer trains.
        save: whether to write the adapter into each checkpoint of the Trainer.
    """

    def __init__(self, adaptation: Adaptation, *, save: bool = True) -> None:
        self.adaptation, self.save = adaptation, save

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        """Attach the schedule, the penalty and the audit of the first step.

        Raises:
            StateError: if the optimizer does not hold the adapter's tensors, or the adaptation is attached already.
        """
        optimizer: torch.optim.Optimizer = kwargs["optimizer"]
        scaler = None
        if isinstance(optimizer, AcceleratedOptimizer):  # hooks on the wrapper would never run
            optimizer, scaler = optimizer.optimizer, optimizer.scaler
        self.adaptation.attach(optimizer, scaler=scaler)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        """Write the adapter beside what the Trainer saved.

        Raises:
            CheckpointError: if it cannot be written.
        """
        if self.save:
            self.adaptation.save(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / FOLDER)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        """Take the schedule off the optimizer."""
        self.adaptation.detach()

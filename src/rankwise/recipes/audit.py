# SPDX-License-Identifier: Apache-2.0
"""Check after the first optimizer step that training does something.

The core refuses a first step in which an adapter got no gradient. This adds what only a whole step shows: that every
adapter has a tensor that changed, and that the model's output is no longer what it is without the adapter.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rankwise.core.adaptation import Adaptation
from rankwise.errors import StateError, listed
from rankwise.recipes.evaluate import evaluating


@dataclass(frozen=True)
class Audit:
    """What the first step did.

    Attributes:
        adapters: how many adapters there are, all with a changed tensor.
        tensors: how many tensors train, all with a gradient.
        changed: how many of them the step changed; beside a factor that starts at zero the other follows a step later.
        output: the largest change of a logit by the adapter.
    """

    adapters: int
    tensors: int
    changed: int
    output: float

    def __str__(self) -> str:
        return (
            f"first step: all {self.tensors} tensors got a gradient, all {self.adapters} adapters changed, the output "
            f"moved by up to {self.output:.2g}"
        )


class FirstStep(TrainerCallback):
    """Audits the first step of a run.

    Attributes:
        adaptation: the adaptation that trains.
        batch: a batch to compare the output on, with and without the adapter.
        passed: called with the audit, unless it refuses.
    """

    def __init__(self, adaptation: Adaptation, batch: dict[str, Tensor], passed: Callable[[Audit], None]) -> None:
        self.adaptation, self.batch, self.passed = adaptation, batch, passed
        self._start: dict[str, Tensor] = {}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        """Keep the tensors as they are at the start."""
        if state.global_step == 0:
            self._start = {name: p.detach().clone() for name, p in self.adaptation.named_parameters()}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        """Compare with the start.

        Raises:
            StateError: if an adapter is as it was, or the output is.
        """
        if not self._start:
            return
        changed = [name for name, p in self.adaptation.named_parameters() if not torch.equal(p, self._start[name])]
        names = list(self.adaptation.adapters)
        still = [name for name in names if not any(one.startswith((f"{name}.", "shared.")) for one in changed)]
        if still:
            raise StateError(
                f"the first optimizer step changed nothing in {len(still)} of {len(names)} adapters: {listed(still)}. "
                "They would not learn; leave these layers out of targets."
            )
        result = Audit(len(names), len(self._start), len(changed), self._moved())
        self._start = {}
        self.passed(result)

    def _moved(self) -> float:
        model = self.adaptation.model
        with evaluating(model):
            adapted = model(**self.batch).logits
            with self.adaptation.disabled():
                base = model(**self.batch).logits
        moved = float((adapted - base).abs().max())
        if not math.isfinite(moved):
            raise StateError("after the first optimizer step the output is not finite; lower the learning rate.")
        if moved == 0:
            raise StateError(
                "after the first optimizer step the model answers exactly as without the adapter: the adapted layers "
                "do not reach the output, or the update vanished in rounding. Choose other targets or a wider dtype."
            )
        return moved

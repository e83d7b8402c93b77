# SPDX-License-Identifier: Apache-2.0
"""What a run tells while it goes on: a progress bar, a line of metrics for each step, and how it reacts to Ctrl-C."""

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rankwise.errors import StateError
from rankwise.recipes.folder import Metrics
from rankwise.recipes.memory import in_words, peak


def progress_bar(console: Console) -> Progress:
    """A bar with the time left, once done the time taken, and a text of its own at the end."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[text]}"),
        console=console,
    )


class StepLog(TrainerCallback):
    """Shows each step in the bar and appends it to the metrics.

    Attributes:
        metrics: the file of metrics.
        progress: the bar.
        seconds: how long training took before this process, for a run that was resumed.
    """

    def __init__(self, metrics: Metrics, progress: Progress, seconds: float) -> None:
        self.metrics, self.progress, self.seconds = metrics, progress, seconds
        self._task: TaskID | None = None
        self._started, self._tokens = 0.0, 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        """Start the bar where the run stands."""
        self._started, self._tokens = time.perf_counter(), int(state.num_input_tokens_seen)
        self._task = self.progress.add_task("training", total=state.max_steps, completed=state.global_step, text="")

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write the step down.

        Raises:
            StateError: if the loss is no longer finite; the checkpoint before this step stays.
        """
        if self._task is None or not logs or "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise StateError(
                f"the loss is {logs['loss']} at step {state.global_step}; nothing more is saved. Lower the learning "
                "rate, or use a wider dtype."
            )
        took, tokens = time.perf_counter() - self._started, int(state.num_input_tokens_seen)
        self.metrics.append(
            {
                "event": "step",
                "step": state.global_step,
                "loss": logs["loss"],
                "grad_norm": logs["grad_norm"],
                "learning_rate": logs["learning_rate"],
                "tokens": tokens,
                "seconds": round(self.seconds + took, 2),
            }
        )
        text = f"loss {logs['loss']:.3f}, {(tokens - self._tokens) / took:.0f} tokens/s, {in_words(peak())}"
        self.progress.update(self._task, completed=state.global_step, text=text)


class Interruption(TrainerCallback):
    """Lets Ctrl-C end the run after the step that is under way, with a checkpoint; a second one ends it at once.

    Attributes:
        requested: whether Ctrl-C was pressed.
    """

    def __init__(self, console: Console) -> None:
        self.console, self.requested = console, False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Catch Ctrl-C inside the block; only the main thread of a program can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._asked)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs) -> None:
        """Save and stop, if asked to."""
        if self.requested:
            control.should_save = control.should_training_stop = True

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        self.console.print("Stopping after this step; press Ctrl-C again to stop at once.")

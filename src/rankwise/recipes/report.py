# SPDX-License-Identifier: Apache-2.0
"""What a run came to, as a table for people and as a file for programs."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from rankwise.recipes.folder import METRICS, PLOT, RECIPE, RESULT, write_whole
from rankwise.recipes.memory import in_words


@dataclass(frozen=True)
class Answers:
    """A held-out question and what was answered to it.

    Attributes:
        prompt: the end of the prompt.
        expected: what the data says.
        before: the base model's answer.
        after: the tuned model's answer.
    """

    prompt: str
    expected: str
    before: str
    after: str


@dataclass(frozen=True)
class Outcome:
    """The result of a run.

    Attributes:
        trainable: number of trainable parameters.
        total: parameters of the model with the adapter.
        steps: optimizer steps.
        tokens: tokens trained on, padding not counted.
        seconds: time in training steps.
        perplexity_before: on the held-out sequences, without the adapter.
        perplexity_after: the same with it.
        answers: held-out questions.
        peak_memory: bytes.
    """

    trainable: int
    total: int
    steps: int
    tokens: int
    seconds: float
    perplexity_before: float
    perplexity_after: float
    answers: tuple[Answers, ...]
    peak_memory: int

    def write(self, folder: Path) -> None:
        """Write it to a run's folder."""
        write_whole(folder / RESULT, json.dumps(asdict(self), indent=1) + "\n")

    def table(self, folder: Path) -> Table:
        """The closing table."""
        table = Table(title="rankwise tune", show_header=False, title_justify="left")
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        share = self.trainable / self.total
        speed = self.tokens / self.seconds if self.seconds else 0.0
        rows = {
            "trainable parameters": f"{self.trainable:,} ({share:.2%} of {self.total:,})",
            "held-out perplexity": f"{self.perplexity_before:.2f} before, {self.perplexity_after:.2f} after",
            "training": f"{self.steps} steps, {self.tokens:,} tokens in {self.seconds:.0f} s ({speed:.0f} tokens/s)",
            "peak memory": in_words(self.peak_memory),
        }
        for name, value in rows.items():
            table.add_row(name, value)
        for one in self.answers:
            table.add_section()
            for name, value in asdict(one).items():
                table.add_row({"prompt": "question"}.get(name, name), Text(value or "(nothing)"))
        table.add_section()
        table.add_row("adapter", str(folder))
        table.add_row("also there", ", ".join((RECIPE, METRICS, PLOT, RESULT)))
        return table

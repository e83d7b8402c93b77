# SPDX-License-Identifier: Apache-2.0
"""What a run has changed: perplexity on held-out sequences, and answers to the first of them."""

from typing import Any

from rich.progress import Progress

from rankwise.recipes.encode import IGNORED, Encoded, prompt_of
from rankwise.recipes.evaluate import answer, perplexity, words
from rankwise.recipes.folder import Metrics
from rankwise.recipes.job import Job
from rankwise.recipes.memory import peak
from rankwise.recipes.report import Answers, Outcome

_QUESTIONS, _ANSWER_LENGTH = 2, 48  # held-out prompts to answer, new tokens for each


def judge(job: Job, progress: Progress, when: str) -> dict[str, Any]:
    """Perplexity and answers of the model as it is now, as a record of the metrics."""
    questions = job.held_out[:_QUESTIONS]
    task = progress.add_task(f"held out, {when}", total=len(job.held_out) + len(questions), text="")
    value = perplexity(
        job.model, job.held_out, job.collator, job.recipe.batch_size, lambda count: progress.advance(task, count)
    )
    answers = []
    for item in questions:
        answers.append(answer(job.model, job.tokenizer, prompt_of(item), _ANSWER_LENGTH))
        progress.advance(task)
    progress.update(task, text=f"perplexity {value:.2f}")
    return {"event": when, "perplexity": value, "answers": answers}


def outcome(job: Job, metrics: Metrics) -> Outcome:
    """What a finished run came to."""
    before, after, last = metrics.lines("before")[-1], metrics.lines("after")[-1], metrics.lines("step")[-1]
    summary = job.adaptation.summary()
    answers = [
        Answers(_question(job, item), _expected(job, item), was, now)
        for item, was, now in zip(job.held_out[:_QUESTIONS], before["answers"], after["answers"], strict=True)
    ]
    return Outcome(
        trainable=summary.trainable,
        total=summary.total,
        steps=job.steps,
        tokens=last["tokens"],
        seconds=last["seconds"],
        perplexity_before=before["perplexity"],
        perplexity_after=after["perplexity"],
        answers=tuple(answers),
        peak_memory=peak(),
    )


def _question(job: Job, item: Encoded) -> str:
    return item.question or words(job.tokenizer, prompt_of(item))


def _expected(job: Job, item: Encoded) -> str:
    """The learned tokens after the prompt, up to the next turn of somebody else."""
    start = len(prompt_of(item))
    rest = item.labels[start:]
    end = rest.index(IGNORED) if IGNORED in rest else len(rest)
    return words(job.tokenizer, rest[: min(end, _ANSWER_LENGTH)])

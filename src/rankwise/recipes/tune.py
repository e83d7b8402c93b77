# SPDX-License-Identifier: Apache-2.0
"""Fine-tune a language model with one of the methods: recipe in, folder out.

The folder and the data are checked before the model is loaded. A run that was stopped, killed included, is resumed from
its folder and ends in the same bits as one that was not.
"""

import shutil
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from rankwise.errors import Interrupted
from rankwise.integrations.transformers import RankwiseCallback
from rankwise.recipes.audit import FirstStep
from rankwise.recipes.batches import Ordered, order
from rankwise.recipes.checkpoints import newest
from rankwise.recipes.data import read_data
from rankwise.recipes.errors import DataError, OutputError
from rankwise.recipes.folder import (
    CHECKPOINTS,
    METRICS,
    PLOT,
    RECIPE,
    RESULT,
    Metrics,
    new_folder,
    write_whole,
    writing,
)
from rankwise.recipes.job import Job, load_job
from rankwise.recipes.judge import judge, outcome
from rankwise.recipes.memory import in_words, predict
from rankwise.recipes.plot import plot_loss
from rankwise.recipes.progress import Interruption, StepLog, progress_bar
from rankwise.recipes.recipe import TuneRecipe, read_recipe, recipe_text, with_whole_paths
from rankwise.recipes.report import Outcome
from rankwise.recipes.trainer import AdapterTrainer, training_arguments


def dry_run(recipe: TuneRecipe, console: Console) -> None:
    """Load everything, say what would be trained and what it would need, and stop.

    Raises:
        RankwiseError: what `tune` would raise before its first step.
    """
    console.print(recipe_text(recipe), markup=False)
    job = load_job(recipe, read_data(recipe.data), console)
    console.print(str(job.adaptation.summary()), markup=False, highlight=False, soft_wrap=True)
    need = predict(job.model, job.train, recipe.batch_size, job.collator)
    console.print(
        f"{job.steps} steps of {recipe.batch_size * recipe.accumulate} sequences.\n"
        f"Predicted memory: {in_words(need.total)} (weights {in_words(need.weights)}, gradients and optimizer "
        f"{in_words(need.training)}, activations of the largest batch {in_words(need.activations)}) beside the "
        "libraries.\nNothing was written.",
    )


def tune(recipe: TuneRecipe, out: Path, console: Console) -> Outcome:
    """Run a recipe.

    Args:
        recipe: the settings.
        out: the folder to make; must not exist or be empty.
        console: where progress and the closing table go.

    Returns:
        What the run came to; also in `out`.

    Raises:
        RankwiseError: for a mistake in recipe, data or model, an output that cannot be written, or Ctrl-C.
    """
    recipe = with_whole_paths(recipe)
    new_folder(out)
    try:
        job = load_job(recipe, read_data(recipe.data), console)
    except BaseException:
        out.rmdir()  # nothing was written yet
        raise
    write_whole(out / RECIPE, recipe_text(recipe))
    return _run(job, out, None, console)


def resume(out: Path, console: Console) -> Outcome:
    """Go on with a run that was stopped.

    Args:
        out: the run's folder.
        console: where progress and the closing table go.

    Returns:
        What the run came to.

    Raises:
        OutputError: if the folder holds no run, or one that is complete.
        RankwiseError: as for `tune`.
    """
    if not (out / RECIPE).is_file():
        raise OutputError(f"{out} holds no {RECIPE}, so there is no run to resume; pass the folder of a run.")
    if (out / RESULT).is_file():
        raise OutputError(f"the run in {out} is complete; there is nothing to resume.")
    recipe = TuneRecipe.from_mapping(read_recipe(out / RECIPE))
    found = newest(out / CHECKPOINTS)
    console.print("No complete checkpoint; starting again." if found is None else f"Going on after step {found[0]}.")
    job = load_job(recipe, read_data(recipe.data), console, None if found is None else found[1])
    return _run(job, out, found, console)


def _run(job: Job, out: Path, start: tuple[int, Path] | None, console: Console) -> Outcome:
    """Evaluate, train from the beginning or a checkpoint, evaluate again, and write everything down."""
    metrics = Metrics(out / METRICS)
    metrics.rewind(start[0] if start else 0)
    with progress_bar(console) as progress:
        if not metrics.lines("before"):
            with job.adaptation.disabled():
                metrics.append(judge(job, progress, "before") | {"data": job.data_digest})
        elif metrics.lines("before")[0]["data"] != job.data_digest:
            raise DataError(f"{job.recipe.data} is not the data that the run in {out} began with; begin a new run.")
        _train(job, out, start, progress)
        metrics.append(judge(job, progress, "after"))
    with writing(str(out), f"Then go on with `rankwise tune --resume {out}`."):
        job.adaptation.save(out)
    result = outcome(job, metrics)
    title = f"held-out perplexity {result.perplexity_before:.2f} before, {result.perplexity_after:.2f} after"
    steps = metrics.lines("step")
    with writing(str(out / PLOT), f"The adapter is in {out}."):
        plot_loss(out / PLOT, [line["step"] for line in steps], [line["loss"] for line in steps], title)
    result.write(out)
    shutil.rmtree(out / CHECKPOINTS)
    console.print(result.table(out))
    return result


def _train(job: Job, out: Path, start: tuple[int, Path] | None, progress: Progress) -> None:
    """The training steps, from the beginning or a checkpoint.

    Raises:
        Interrupted: if Ctrl-C ended them; a checkpoint is written then.
    """
    recipe, console, metrics = job.recipe, progress.console, Metrics(out / METRICS)
    arguments = training_arguments(recipe, job.steps, out / CHECKPOINTS)
    count = job.steps * recipe.batch_size * recipe.accumulate
    indices = order([len(item.input_ids) for item in job.train], recipe.batch_size, count, recipe.seed)
    probe = {name: value.to(job.model.device) for name, value in job.collator([job.train[indices[0]]]).items()}
    audit = FirstStep(job.adaptation, probe, lambda result: console.print(str(result)))
    interruption = Interruption(console)
    before = metrics.lines("step")
    log = StepLog(metrics, progress, before[-1]["seconds"] if before else 0.0)
    callbacks = [RankwiseCallback(job.adaptation, save=False), audit, log, interruption]
    data = (Ordered(job.train, indices), job.collator)
    trainer = AdapterTrainer(job.model, job.adaptation, arguments, data, callbacks, recipe)
    with interruption.watching():
        trainer.train(resume_from_checkpoint=None if start is None else str(start[1]))
    if trainer.state.global_step < job.steps:
        raise Interrupted(
            f"stopped after step {trainer.state.global_step} of {job.steps}, which is saved; go on with "
            f"`rankwise tune --resume {out}`."
        )

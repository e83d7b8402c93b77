# SPDX-License-Identifier: Apache-2.0
"""`rankwise bench` from its options to its files.

results.jsonl       the journal: every run, and what is compared
leaderboard.json    one row for each method, task and budget
leaderboard.html    the same as a page
bases/              bases that were pre-trained here
"""

import importlib.metadata
import json
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rankwise.bench.journal import Journal
from rankwise.bench.machine import processor
from rankwise.bench.page import write_page
from rankwise.bench.plan import REFERENCE, lines
from rankwise.bench.results import question, rows
from rankwise.bench.rows import Row
from rankwise.bench.sizes import SIZES
from rankwise.bench.sweep import Place, Progress, prepare, sweep, workers
from rankwise.bench.task import BenchError, Task
from rankwise.core.method import method_class, methods
from rankwise.errors import nearest
from rankwise.recipes.folder import write_whole


@dataclass(frozen=True)
class Comparison:
    """What is compared, and where.

    Attributes:
        folder: where its files are.
        size: "cpu" or "full".
        tasks: names of tasks; none for all.
        methods: names of methods; none for all.
        data: a folder of data sets that no package holds.
        workers: processes at a time.
    """

    folder: Path
    size: str = "cpu"
    tasks: Sequence[str] = ()
    methods: Sequence[str] = ()
    data: Path | None = None
    workers: int = 2

    def chosen_tasks(self) -> list[Task]:
        """The tasks by their names.

        Raises:
            BenchError: if there is no such size or task.
        """
        if self.size not in SIZES:
            raise BenchError(f"there is no size {self.size!r}. {nearest(self.size, SIZES)}")
        known = {task.name: task for task in SIZES[self.size]}
        for name in self.tasks:
            if name not in known:
                raise BenchError(f"there is no task {name!r}. {nearest(name, known)}")
        return [task for name, task in known.items() if not self.tasks or name in self.tasks]

    def chosen_methods(self) -> list[str]:
        """The names of the methods, the one that costs are relative to among them.

        Raises:
            MethodError: if there is no such method.
        """
        for name in self.methods:
            method_class(name)
        return sorted({*self.methods, REFERENCE}) if self.methods else list(methods())

    def settings(self) -> dict[str, Any]:
        """What decides the numbers, as plain data."""
        tasks = {task.name: task.to_dict() for task in SIZES[self.size]}
        return {"size": self.size, "tasks": tasks, "versions": versions()}


def compare(comparison: Comparison) -> Iterator[Progress | str]:
    """Run what is missing and write the leaderboard; yields what was found out, and remarks in words.

    Raises:
        BenchError: if the folder holds another comparison, or no task can be prepared.
        MethodError: if a method is unknown.
    """
    tasks, names = comparison.chosen_tasks(), comparison.chosen_methods()
    folder = _folder(comparison.folder)
    if comparison.workers < 1:
        raise BenchError(f"workers must be at least 1, got {comparison.workers}.")
    with _alone(folder):
        journal = Journal(folder / "results.jsonl", comparison.settings())
        place = Place(folder, comparison.data, comparison.workers, os.cpu_count() or 1)
        with workers(place) as pool:
            yield f"preparing {', '.join(task.name for task in tasks)}"
            missing = prepare(tasks, pool)
            yield from (f"{name} is left out: {reason}" for name, reason in missing.items())
            tasks = [task for task in tasks if task.name not in missing]
            if not tasks:
                raise BenchError("no task can be run; what each of them needs is said above.")
            yield from sweep(tasks, names, journal, place, pool)
        write_leaderboard(folder, rows(lines(tasks, names), journal.found), tasks, about(comparison))


def write_leaderboard(folder: Path, found: list[Row], tasks: list[Task], made: str) -> None:
    """Write leaderboard.json and leaderboard.html."""
    questions = [question(task) for task in tasks]
    data = {"about": made, "questions": [asdict(one) for one in questions], "rows": [asdict(one) for one in found]}
    write_whole(folder / "leaderboard.json", json.dumps(data, indent=1) + "\n")
    write_page(folder / "leaderboard.html", found, questions, made)


def about(comparison: Comparison) -> str:
    """Command, machine, date and versions, as one line."""
    named = ", ".join(f"{name} {version}" for name, version in versions().items())
    today = datetime.now(tz=UTC).date()
    return f"rankwise bench --size {comparison.size}; {today}, {processor()}, {os.cpu_count()} cores; {named}."


def versions() -> dict[str, str]:
    """The versions that numbers depend on."""
    found = {name: importlib.metadata.version(name) for name in ("rankwise", "torch", "transformers")}
    return {"Python": platform.python_version(), **found}


def _folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(f"cannot make the folder {folder}: {error.strerror}; name another.") from error
    return folder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second comparison out of the folder while this one runs."""
    import fcntl  # noqa: PLC0415 - not on Windows

    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchError(f"another comparison runs in {folder}; wait for it, or name another folder.") from None
        yield

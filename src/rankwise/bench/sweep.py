# SPDX-License-Identifier: Apache-2.0
"""The whole comparison: pieces go to worker processes as soon as what they need is known, findings to the journal.

Each base is prepared first, in one process. Runs follow, as many at a time as there are workers. Costs come last, one
at a time with all threads, so that nothing beside them disturbs the clock.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any

import torch

from rankwise.bench.journal import Journal, Key
from rankwise.bench.plan import REFERENCE, Line, lines
from rankwise.bench.rows import YARDSTICKS
from rankwise.bench.task import BenchError, Task
from rankwise.bench.work import Piece, Workshop, entrant_of
from rankwise.recipes.quiet import quiet

_WORKSHOP: list[Workshop] = []  # a worker process's own, made when it starts
Next = Callable[[Line, Mapping[Key, Mapping[str, Any]]], list[Key]]


@dataclass(frozen=True)
class Place:
    """Where a comparison runs.

    Attributes:
        folder: its journal and what was prepared once.
        data: the folder of data sets, None if there is none.
        workers: processes at a time.
        threads: of all of them together.
    """

    folder: Path
    data: Path | None
    workers: int
    threads: int


@dataclass(frozen=True)
class Progress:
    """How far a comparison is: what was found out last, how many pieces are done, and how many there are at most."""

    key: Key
    value: Mapping[str, Any]
    done: int
    most: int


def prepare(tasks: list[Task], pool: Executor) -> dict[str, str]:
    """Prepare each task's base once; what cannot be prepared, by task name, with the reason."""
    found = {task.name: pool.submit(_prepare, task).result() for task in tasks}
    return {name: reason for name, reason in found.items() if reason}


def sweep(tasks: list[Task], names: list[str], journal: Journal, place: Place, pool: Executor) -> Iterator[Progress]:
    """Find out everything that is missing, saying after each piece what it gave.

    Args:
        tasks: the tasks, prepared.
        names: registered methods.
        journal: what is known; added to.
        place: where to run.
        pool: its workers.
    """
    every = lines(tasks, names)
    threads = max(1, place.threads // place.workers)
    yield from _driven(every, Line.missing_runs, journal, pool, _Pace(2 * place.workers, threads))
    yield from _driven(every, Line.missing_cost, journal, pool, _Pace(1, place.threads))


def most_pieces(every: list[Line]) -> int:
    """How many pieces these lines have if nothing is refused."""
    methods = [line for line in every if line.name not in YARDSTICKS]
    return 2 * len(methods) + sum(len(line.rates) + line.task.seeds - 1 for line in every)


@dataclass(frozen=True)
class _Pace:
    """How many pieces may be handed out below which more are, and the threads of each."""

    ahead: int
    threads: int


def _driven(every: list[Line], missing: Next, journal: Journal, pool: Executor, pace: _Pace) -> Iterator[Progress]:
    """Keep the workers busy until no line asks for anything."""
    waiting: dict[Future, tuple[Line, Key]] = {}
    open_lines = [line for line in every if missing(line, journal.found)]
    while open_lines or waiting:
        while open_lines and len(waiting) < pace.ahead:
            line = open_lines.pop(0)
            for key in missing(line, journal.found):
                waiting[pool.submit(_find_out, _piece(line, key, journal), pace.threads)] = (line, key)
        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
            line, key = waiting.pop(future)
            journal.add(key, future.result())
            yield Progress(key, journal.found[key], len(journal.found), most_pieces(every))
            if all(other is not line for other, _ in waiting.values()) and missing(line, journal.found):
                open_lines.insert(0, line)


def _piece(line: Line, key: Key, journal: Journal) -> Piece:
    if key == line.fit:
        return Piece(key, line.task)
    steps = line.task.steps
    entrant = entrant_of(line.name, journal.get(line.fit), steps)
    if key != line.cost:
        return Piece(key, line.task, entrant)
    other = Line(line.task, line.budget, REFERENCE)
    return Piece(key, line.task, entrant, entrant_of(REFERENCE, journal.get(other.fit), steps))


@contextmanager
def workers(place: Place) -> Iterator[Executor]:
    """Processes that end with the block; if it is left early, as soon as their pieces at hand are done."""
    pool = ProcessPoolExecutor(place.workers, get_context("spawn"), _start, (place.data, place.folder / "bases"))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _start(data: Path | None, cache: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    quiet()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _WORKSHOP.append(Workshop(data, cache))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _prepare(task: Task) -> str:
    """Prepare a task; the reason if that cannot be done, else nothing."""
    try:
        _WORKSHOP[0].bench(task)
    except BenchError as error:
        return str(error)
    return ""


def _find_out(piece: Piece, threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    return _WORKSHOP[0].find_out(piece)

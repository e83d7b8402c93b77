# SPDX-License-Identifier: Apache-2.0
"""Runs the cells that need two processes, or a Python without run-time type checks, which torch.compile cannot trace.

    python two_processes.py FOLDER

reads FOLDER/cells.json, a list of [feature, method, kind], starts two processes once for all of them and writes
FOLDER/results.json: for each cell "" or how it failed. The cells of "compile" are dealt out to the processes; those of
a distributed feature run on both at once.
"""

import json
import sys
import traceback
import warnings
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.distributed.fsdp import fully_shard

from rankwise import Adaptation, StateError, load
from rankwise.core.sharded import whole
from rankwise.testing import trial
from rankwise.testing.grid import Cell, cells

PROCESSES = 2
STEPS = 4


def main(folder: str) -> None:
    """Start the processes and put their results together."""
    multiprocessing.spawn(process, args=(folder,), nprocs=PROCESSES)
    results = {}
    for rank in range(PROCESSES):
        for key, text in json.loads(Path(folder, f"{rank}.json").read_text()).items():
            results[key] = results.get(key, "") or text
    Path(folder, "results.json").write_text(json.dumps(results))


def process(rank: int, folder: str) -> None:
    """Run all cells as one of the processes."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    wanted = [tuple(entry) for entry in json.loads(Path(folder, "cells.json").read_text())]
    known = {(feature, *str(cell).split("-", 1)): cell for feature in RUN for cell in cells(feature)}
    results = {}
    for key in [key for key in wanted if key[0] == "compile"][rank::PROCESSES]:
        results[" ".join(key)] = failure(known[key], Path(folder))
    store, attempt = distributed.FileStore(str(Path(folder, "store")), PROCESSES), 0
    store.set_timeout(timedelta(minutes=10))  # the other process may have more to compile
    join(store, rank, attempt)
    for number, key in enumerate(key for key in wanted if key[0] != "compile"):
        text = results[" ".join(key)] = failure(known[key], Path(folder, str(number)))
        if any_failed(store, rank, number, text):
            attempt += 1  # the processes may be at different collectives now: meet again under another name
            distributed.destroy_process_group()
            join(store, rank, attempt)
    distributed.destroy_process_group()
    Path(folder, f"{rank}.json").write_text(json.dumps(results))


def join(store: distributed.Store, rank: int, attempt: int) -> None:
    """Form a group of the processes; one that waits for a minute in vain is given up."""
    named = distributed.PrefixStore(f"group-{attempt}", store)
    distributed.init_process_group("gloo", store=named, rank=rank, world_size=PROCESSES, timeout=timedelta(minutes=1))


def any_failed(store: distributed.Store, rank: int, number: int, text: str) -> bool:
    """Whether a cell failed in one of the processes."""
    store.set(f"{number}-{rank}", "failed" if text else "passed")
    return any(store.get(f"{number}-{other}") == b"failed" for other in range(PROCESSES))


def failure(cell: Cell, folder: Path) -> str:
    """How a cell fails, "" if it does not."""
    try:
        with cell.filled_or_refused():
            RUN[cell.feature](cell, folder)
    except Exception:  # whatever it is, it belongs into the report of this cell
        return traceback.format_exc()
    return ""


def compiled(cell: Cell, folder: Path) -> None:
    """The compiled model gives the eager one's output and gradients, in one graph."""
    torch._dynamo.reset()
    torch._dynamo.config.allow_rnn = True  # torch compiles no recurrent layer without it
    adaptation, x = trial.adapted(cell), cell.kind.inputs()
    model = torch.compile(adaptation.model, backend="aot_eager", fullgraph=True)
    outputs, gradients = [], []
    with trial.given(adaptation, trial.per_example(cell.method), batch_dim=cell.kind.batch_dim):
        for runner in (adaptation.model, model):
            adaptation.model.zero_grad()
            outputs.append(runner(x))
            trial.loss(outputs[-1]).backward()
            gradients.append(trial.gradients(adaptation))
    trial.near(outputs[1], outputs[0])
    trial.all_near(gradients[1], gradients[0], outputs[0].dtype)


def data_parallel(cell: Cell, folder: Path) -> None:
    """Two replicas train to the tensors of one process with the whole batch, and stay equal to the bit."""
    adaptation = started(cell)
    # torch cannot broadcast quantized weights; without that, the replicas must start out equal by themselves
    wrapped = nn.parallel.DistributedDataParallel(adaptation.model, init_sync=not cell.kind.quantized)
    with pytest.raises(StateError, match="already wrapped"):
        trial.fresh(cell, wrapped, name="late-comer")
    train(adaptation, wrapped, halves(cell, distributed.get_rank()))
    mine = trial.state(adaptation)
    for name, value in mine.items():
        first = value.detach().clone()
        distributed.broadcast(first, 0)
        assert torch.equal(first, value), f"{name} differs between the replicas"
    trial.all_near(mine, trial.state(alone(cell)), precision(cell))


def sharded(cell: Cell, folder: Path) -> None:
    """A sharded model trains to the tensors of one process, and its checkpoint loads into one process to the bit."""
    adaptation = started(cell)
    kept = {target.parameter() for target in adaptation.targets.values() if target.quantized}  # torch cannot cut them
    for layer in (adaptation.model.late, adaptation.model.early, adaptation.model):
        fully_shard(layer, ignored_params=kept)
    with pytest.raises(StateError, match="already sharded"):
        trial.fresh(cell, adaptation.model, name="late-comer")
    train(adaptation, adaptation.model, halves(cell, distributed.get_rank()))
    adaptation.save(folder)
    distributed.barrier()
    mine = {name: whole(value) for name, value in trial.state(adaptation).items()}
    loaded = trial.state(load(cell.kind.model(), folder))
    assert trial.identical(loaded, mine), "the checkpoint is not what was trained"
    trial.all_near(mine, trial.state(alone(cell)), precision(cell))


RUN = {"compile": compiled, "ddp": data_parallel, "fsdp2": sharded}


def started(cell: Cell) -> Adaptation:
    """The method on a fresh base, its tensors moved, the global generator of each process in another state."""
    torch.manual_seed(distributed.get_rank())
    adaptation = trial.fresh(cell)
    trial.perturb(adaptation)
    return adaptation


def alone(cell: Cell) -> Adaptation:
    """What one process makes of the whole batch."""
    adaptation = started(cell)
    both = [torch.cat(pair, cell.kind.batch_dim) for pair in zip(halves(cell, 0), halves(cell, 1), strict=True)]
    train(adaptation, adaptation.model, both, share=1 / PROCESSES)
    return adaptation


def halves(cell: Cell, rank: int) -> list[torch.Tensor]:
    """The part of each batch that a process sees; equal ones if a schedule scores them, as |a + b| is not |a| + |b|."""
    return [cell.kind.inputs(step if cell.method.scheduled else step + 100 * rank) for step in range(STEPS)]


def train(adaptation: Adaptation, model: nn.Module, batches: list[torch.Tensor], share: float = 1.0) -> None:
    """A few steps, with `share` in front of the loss."""
    optimizer = trial.attached(adaptation)
    for x in batches:
        optimizer.zero_grad()
        with trial.given(adaptation, trial.for_all(adaptation.method)):
            (share * trial.loss(model(x))).backward()
        optimizer.step()


def precision(cell: Cell) -> torch.dtype:
    """The dtype whose tolerance the trained tensors are compared with."""
    return cell.kind.dtype


if __name__ == "__main__":
    main(sys.argv[1])

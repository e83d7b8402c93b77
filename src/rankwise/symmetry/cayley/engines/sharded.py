# SPDX-License-Identifier: Apache-2.0
"""The frontier search shared by several processes or machines: each holds the states that are its own.

A state belongs to the process whose number is a mix of its words modulo the number of processes; this decides where a
state is stored and nothing else, so that counts are exact whatever the mix. In each round every process makes neighbors
of a batch of its last layer, sends each to its owner (one all-to-all), and sorts what it gets, keeping what is new. The
sizes of layers are summed over all. With the backend gloo states travel through main memory, with nccl from GPU to GPU;
the searching itself is done by processors. distributed.py is the command.
"""

import time
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed

from rankwise.errors import CapacityError, RankwiseError, StateError, SymmetryError
from rankwise.symmetry.cayley.engines.packing import packing
from rankwise.symmetry.cayley.engines.sorting import keep_new, merged, sort_rows
from rankwise.symmetry.cayley.families.registry import Graph
from rankwise.symmetry.cayley.result import Growth, Layer, Limits

_BATCH = 2**18  # neighbors made in one go where layers are small
_COPIES = 6  # of a batch at once: made, joined, ordered by owner, received, while sorting, and kept
_NO_MEMORY, _OVERFLOW = -1, -2  # in place of counts
_SHARE = 4  # the small array of known states goes into the large one at this part of its length

States = NDArray[np.uint64]


def sharded_growth(searched: Graph, limits: Limits | None = None) -> Growth:
    """Count the states at each distance with all processes of torch's process group, each calling this alike.

    Args:
        searched: the same graph in every process.
        limits: memory is that of one process; None takes the defaults of `Limits`, so give it if processes share a
            machine. Each process calls its own `report`.

    Returns:
        The same growth in every process; its `memory` is what the process that needed most has used.

    Raises:
        StateError: if there is no process group.
        CapacityError: in every process, if one of them runs out of `limits.memory`.
        SymmetryError: if matrices have no modulus and an entry could leave 64 bits.
    """
    if not distributed.is_initialized():
        raise StateError(
            "There is no process group; call torch.distributed.init_process_group() first, under torchrun."
        )
    began = time.perf_counter()
    limits = limits or Limits()
    search, complete = _Search(searched, limits), False
    layers = search.layers
    limits.report(Layer(0, 1, 1, 0.0))
    while limits.max_layers is None or len(layers) <= limits.max_layers:
        size = search.step()
        if not size:
            complete = True
            break
        search.advance(size)
        limits.report(Layer(len(layers) - 1, size, sum(layers), time.perf_counter() - began))
    return Growth(
        title=searched.title,
        layers=tuple(layers),
        complete=complete,
        method=f"frontier shared by {distributed.get_world_size()} processes",
        seconds=time.perf_counter() - began,
        memory=_over_all(search.most, distributed.ReduceOp.MAX),
        last_layer=search.states() if layers[-1] <= limits.keep else None,
    )


class _Search:
    """What one process holds, and one step from a layer to the next, in which all take part."""

    def __init__(self, searched: Graph, limits: Limits) -> None:
        self.title, self.limits = searched.title, limits
        self.packing = packing(searched)
        self.both_ways = searched.inverse_closed
        start = self.packing.start()
        self.last = start if _owners(start)[0] == distributed.get_rank() else start[:0]
        self.next = start[:0]
        self.known = (self.last, self.next)  # the last two layers, or the large and the small array of all
        self.layers = [1]
        self.most = 0  # bytes

    def step(self) -> int:
        """Find the own part of the next layer; the size of the whole layer."""
        batches = list(self._batches())
        runs = [self.last[:0]]
        for number in range(_over_all(len(batches), distributed.ReduceOp.MAX)):
            rows = self._exchanged(batches[number] if number < len(batches) else None, runs)
            runs.append(rows[: keep_new(rows, *self.known)].copy())
            while len(runs) > 1 and len(runs[-2]) < 2 * len(runs[-1]):
                runs[-2:] = [merged(runs[-2], runs[-1])]
        while len(runs) > 1:
            runs[-2:] = [merged(runs[-2], runs[-1])]
        self.next = runs[0]
        return _over_all(len(self.next), distributed.ReduceOp.SUM)

    def advance(self, size: int) -> None:
        """Make the next layer the last, and known."""
        if self.both_ways:
            self.known = (self.next, self.last)
        else:
            large, small = self.known
            small = merged(small, self.next)
            if len(small) * _SHARE > len(large):
                large, small = merged(large, small), small[:0].copy()
            self.known = (large, small)
        self.last = self.next
        self.layers.append(size)

    def states(self) -> NDArray[np.int64]:
        """The states of the whole last layer, in every process."""
        parts: list[States] = [self.last] * distributed.get_world_size()
        distributed.all_gather_object(parts, self.last)
        rows = np.concatenate(parts)
        _sort(rows)
        return self.packing.unpacked(rows)

    def _batches(self) -> Iterator[tuple[slice, range]]:
        """Which states and which generators make a batch."""
        room = self.limits.memory // 4 // (_COPIES * self._row_bytes())
        rows = max(1, min(room, max(_BATCH, len(self.last))))
        together = max(1, rows // max(1, len(self.last)))
        for first in range(0, self.packing.generators, together):
            for begin in range(0, len(self.last), rows):
                yield slice(begin, begin + rows), range(first, min(first + together, self.packing.generators))

    def _exchanged(self, batch: tuple[slice, range] | None, runs: list[States]) -> States:
        """The neighbors that all processes found in this round and that belong here, sorted.

        A process that cannot go on says so in place of counts, so that all stop together.
        """
        world, trouble = distributed.get_world_size(), None
        rows, counts = self.last[:0], np.zeros(world, dtype=np.int64)
        try:
            self._claim(batch, runs)
            rows, counts = self._made(batch) if batch else (rows, counts)
        except RankwiseError as error:
            trouble, counts = error, np.full(world, _NO_MEMORY if isinstance(error, CapacityError) else _OVERFLOW)
        sent = torch.from_numpy(counts).to(_device())
        coming = torch.empty_like(sent)
        distributed.all_to_all_single(coming, sent)
        if trouble is not None:
            raise trouble
        if int(coming.min()) < 0:
            kind = CapacityError if int(coming.min()) == _NO_MEMORY else SymmetryError
            raise kind(
                f"{self.title}: process {int(coming.argmin())} cannot go on with layer {len(self.layers)}; its own "
                f"message says why. The growth so far is {', '.join(map(str, self.layers))}."
            )
        outgoing = torch.from_numpy(rows.view(np.int64)).to(_device())
        incoming = outgoing.new_empty((int(coming.sum()), rows.shape[1]))
        distributed.all_to_all_single(incoming, outgoing, coming.tolist(), counts.tolist())
        received = incoming.cpu().numpy().view(np.uint64)
        _sort(received)
        return received

    def _made(self, batch: tuple[slice, range]) -> tuple[States, NDArray[np.int64]]:
        """The neighbors of a batch, each once, in the order of their owners, and how many each owner gets."""
        part, generators = batch
        rows = np.concatenate([self.packing.moved(self.last[part], generator) for generator in generators])
        _sort(rows)
        rows = rows[: keep_new(rows, rows[:0], rows[:0])]
        owners = _owners(rows)
        counts = np.bincount(owners, minlength=distributed.get_world_size())
        return rows[np.argsort(owners, kind="stable")], counts

    def _claim(self, batch: tuple[slice, range] | None, runs: list[States]) -> None:
        """Count what is held and what a round may need."""
        held = sum(array.nbytes for array in (*self.known, *runs)) + (0 if self.both_ways else self.last.nbytes)
        states = len(self.last[batch[0]]) * len(batch[1]) if batch else 0
        self.most = max(self.most, held + sum(run.nbytes for run in runs) + _COPIES * states * self._row_bytes())
        if self.most > self.limits.memory:
            raise CapacityError(
                f"{self.title}: layer {len(self.layers)} needs at least {self.most} bytes in process "
                f"{distributed.get_rank()}, and {self.limits.memory} are allowed. Use more processes or machines, "
                f"raise memory=, or set max_layers=. The growth so far is {', '.join(map(str, self.layers))}."
            )

    def _row_bytes(self) -> int:
        return 8 * self.packing.words


def _sort(rows: States) -> None:
    """Sort rows in place; numpy is the faster at single words."""
    if rows.shape[1] == 1:
        rows.reshape(-1).sort()
    else:
        sort_rows(rows)


def _owners(rows: States) -> NDArray[np.int64]:
    """The process that each state belongs to: its words mixed by multiplications, shifts and exclusive ors."""
    mixed = np.zeros(len(rows), dtype=np.uint64)
    for word in range(rows.shape[1]):
        mixed ^= rows[:, word]
        mixed += np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return (mixed % np.uint64(distributed.get_world_size())).astype(np.int64)


def _over_all(number: int, operation: distributed.ReduceOp.RedOpType) -> int:
    """The sum or the largest of a number of each process."""
    tensor = torch.tensor([number], dtype=torch.int64, device=_device())
    distributed.all_reduce(tensor, operation)
    return int(tensor.item())


def _device() -> torch.device:
    """Where tensors must be to travel: nccl moves only what is on a GPU."""
    nccl = distributed.get_backend() == distributed.Backend.NCCL
    return torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")

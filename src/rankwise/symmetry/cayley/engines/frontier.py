# SPDX-License-Identifier: Apache-2.0
"""Search layer by layer with sorted arrays of packed states (packing.py): for cosets, matrices, puzzles, huge orbits.

The neighbors of a layer are made, sorted and held against what is known in batches, generator by generator. If every
edge goes both ways a neighbor that is not new is in the last two layers, and nothing else is kept. Otherwise all states
found so far are kept, in two sorted arrays: a small one that takes up each layer and now and then goes into the large.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from rankwise.errors import CapacityError
from rankwise.symmetry.cayley.engines.packing import Packing, packing
from rankwise.symmetry.cayley.engines.sorting import keep_new, merged, sort_rows
from rankwise.symmetry.cayley.families.registry import Graph
from rankwise.symmetry.cayley.result import Growth, Layer, Limits

_BATCH = 2**20  # neighbors made in one go where layers are small
_COPIES = 3  # of a batch at once: as made, one more while sorting, and what one generator has made or is kept
_SHARE = 4  # the small array of known states goes into the large one at this part of its length

States = NDArray[np.uint64]


class FrontierEngine:
    """Sorted arrays of packed states."""

    name = "frontier"

    def refuses(self, graph: Graph) -> str | None:
        """Nothing is refused: every graph has a packing."""
        return None

    def memory(self, graph: Graph) -> int:
        """Four times as many rows as there are states at most, and the batch of small layers.

        Were nearly all states in one layer, its batches or the merging of what is found would hold that many. Real
        layers are smaller, and a search needs less. Without a bound on the number of states, as for matrices of exact
        integers, only the batch is counted.
        """
        packed = packing(graph)
        return _with_slack(8 * packed.words * ((_COPIES + 1) * (packed.order or 0) + _COPIES * _BATCH))

    def grow(self, graph: Graph, limits: Limits) -> Growth:
        """Search by layers until one is empty or `limits.max_layers` is reached.

        Raises:
            CapacityError: if a layer and what is known exceed `limits.memory`; the message has the growth so far.
            SymmetryError: if matrices have no modulus and an entry could leave 64 bits.
        """
        began = time.perf_counter()
        search, complete = _Search(graph, limits), False
        layers = search.layers
        limits.report(Layer(0, 1, 1, 0.0))
        with ThreadPoolExecutor(limits.threads) as pool:
            while limits.max_layers is None or len(layers) <= limits.max_layers:
                search.step(pool)
                if not len(search.next):
                    complete = True
                    break
                search.advance()
                limits.report(Layer(len(layers) - 1, layers[-1], sum(layers), time.perf_counter() - began))
        return Growth(
            title=graph.title,
            layers=tuple(layers),
            complete=complete,
            method=self.name,
            seconds=time.perf_counter() - began,
            memory=search.most,
            last_layer=search.packing.unpacked(search.last) if layers[-1] <= limits.keep else None,
        )


class _Search:
    """The sorted arrays that are held, and one step from a layer to the next.

    Args:
        graph: what is searched.
        limits: memory and threads.
    """

    def __init__(self, graph: Graph, limits: Limits) -> None:
        self.title, self.limits = graph.title, limits
        self.packing: Packing = packing(graph)
        self.both_ways = graph.inverse_closed
        self.last = self.packing.start()
        self.next = self.last[:0]
        self.known = (self.last, self.next)  # the last two layers, or the large and the small array of all
        self.layers = [1]
        self.most = 0  # bytes

    def step(self, pool: ThreadPoolExecutor) -> None:
        """Find the next layer."""
        runs: list[States] = []
        rows = self._rows()
        batches = self._batches(rows)
        while works := list(islice(batches, self.limits.threads)):
            self._claim(runs, _COPIES * len(works) * rows * self.last.itemsize * self.last.shape[1])
            runs += list(pool.map(self._found, works)) if len(works) > 1 else [self._found(works[0])]
            while len(runs) > 1 and len(runs[-2]) < 2 * len(runs[-1]):
                self._join(runs)
        while len(runs) > 1:
            self._join(runs)
        self.next = runs[0] if runs else self.last[:0]

    def advance(self) -> None:
        """Make the next layer the last, and known."""
        if self.both_ways:
            self.known = (self.next, self.last)
        else:
            large, small = self.known
            self._claim([self.next], small.nbytes + self.next.nbytes)
            small = merged(small, self.next)
            if len(small) * _SHARE > len(large):
                self._claim([self.next, small], large.nbytes + small.nbytes)
                large, small = merged(large, small), small[:0].copy()
            self.known = (large, small)
        self.last = self.next
        self.layers.append(len(self.last))

    def _rows(self) -> int:
        """Neighbors in a batch: as many as the layer has states, so that known ones are walked through a few times."""
        row = self.last.itemsize * self.last.shape[1]
        room = self.limits.memory // 4 // (_COPIES * row)
        rows = min(room, max(_BATCH, len(self.last)), len(self.last) * self.packing.generators)
        return max(1, rows // self.limits.threads)

    def _batches(self, rows: int) -> Iterator[tuple[slice, range]]:
        """Which states and which generators make a batch of at most `rows` neighbors."""
        states, generators = len(self.last), self.packing.generators
        together = max(1, rows // states)
        for first in range(0, generators, together):
            for begin in range(0, states, rows):
                yield slice(begin, begin + rows), range(first, min(first + together, generators))

    def _found(self, work: tuple[slice, range]) -> States:
        """The new states among the neighbors of some states by some generators, sorted."""
        part, generators = work
        states = self.last[part]
        rows = np.empty((len(generators) * len(states), states.shape[1]), dtype=np.uint64)
        for number, generator in enumerate(generators):
            rows[number * len(states) : (number + 1) * len(states)] = self.packing.moved(states, generator)
        sort_rows(rows)
        return rows[: keep_new(rows, *self.known)].copy()

    def _join(self, runs: list[States]) -> None:
        """Merge the last two runs."""
        self._claim(runs, runs[-1].nbytes + runs[-2].nbytes)
        right = runs.pop()
        runs[-1] = merged(runs[-1], right)

    def _claim(self, runs: list[States], more: int) -> None:
        """Count what is held and what is about to be made.

        Raises:
            CapacityError: if it is more than is allowed.
        """
        held = sum(array.nbytes for array in (*self.known, *runs)) + (0 if self.both_ways else self.last.nbytes)
        self.most = max(self.most, _with_slack(held + more))
        if self.most <= self.limits.memory:
            return
        found = max((len(run) for run in runs), default=0)
        row = self.last.itemsize * self.last.shape[1]
        worst = held + 2 * row * len(self.last) * self.packing.generators
        raise CapacityError(
            f"{self.title}: {self.limits.memory} bytes are allowed, and layer {len(self.layers)}, of which {found} "
            f"states are found, needs at least {self.most} (at most about {max(worst, self.most)}). The growth so far "
            f"is {', '.join(map(str, self.layers))}: {sum(self.layers)} states to distance {len(self.layers) - 1}. "
            "Raise memory=, give disk= to keep layers in files, or stop there with max_layers=."
        )


def _with_slack(size: int) -> int:
    """Bytes with a third more, for freed memory that the allocator does not give back at once."""
    return size * 4 // 3

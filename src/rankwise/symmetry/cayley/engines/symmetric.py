# SPDX-License-Identifier: Apache-2.0
"""Search one permutation of each orbit of the generators' symmetries, and count the orbits' sizes.

A symmetry keeps distances (conjugators.py), so a layer is a union of orbits. Held are sorted keys of the least member
of each orbit of the last two layers, or of all layers where edges have a direction. From x it looks at x p and, if
inversion takes part, at p x too, for every generator p: what the least member's inverse would reach. An orbit has as
many members as there are symmetries, divided by how many of them keep one member.

It pays where symmetries are many: n! for whole conjugacy classes and (n-1)! for sets with one special place, whose
orbits are counted by cycles, to n = 20 and beyond. With few symmetries, such as the 4n of the circle of
transpositions, it needs less memory than bitmaps and more time.
"""

import time
from functools import cache, lru_cache
from math import factorial

import numpy as np
from numpy.typing import NDArray

from rankwise.errors import CapacityError
from rankwise.symmetry.cayley.engines.conjugators import Symmetries, symmetries
from rankwise.symmetry.cayley.engines.engine import walked
from rankwise.symmetry.cayley.engines.necklaces import kept_exchanges, least_images
from rankwise.symmetry.cayley.families.registry import Graph
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.keys import StateKeys, contained
from rankwise.symmetry.cayley.permutations import identity
from rankwise.symmetry.cayley.result import Growth, Limits

_LARGEST = 255
_BATCH = 2**22  # bytes of neighbors looked at in one go, if those of one state are not more
_Keys = NDArray[np.generic]


class SymmetricEngine:
    """One permutation for each orbit of the symmetries of the generators."""

    name = "symmetry"

    def refuses(self, graph: Graph) -> str | None:
        """Why the graph has no symmetry that is of use, or None."""
        if not isinstance(graph, PermutationGraph):
            return "it looks for conjugations of permutations, and these states are matrices"
        if not graph.is_group:
            return "it searches groups, and the start has repeated letters"
        if graph.size > _LARGEST or not graph.distinct:
            return f"it takes 1 to {_LARGEST} letters and a generator that moves one"
        found = symmetries(graph.distinct)
        if found is None:
            return "its generators have too many symmetries, or near symmetries, to look through one by one"
        return None if found.order > 1 else "its generators have no symmetry"

    def memory(self, graph: Graph) -> int:
        """Four times the keys of all orbits, as if none were smaller than the symmetries allow, and one batch."""
        assert isinstance(graph, PermutationGraph)
        found = _found(graph)
        orbits = -(-_orbits_of_exchanges(tuple(sorted(found.block_sizes))) // len(found.maps))
        return 4 * orbits * StateKeys(PermutationGraph(graph.distinct)).key_bytes + 4 * _batch_bytes(graph)

    def grow(self, graph: Graph, limits: Limits) -> Growth:
        """Search by layers until one is empty or `limits.max_layers` is reached.

        Raises:
            CapacityError: if the orbits take more than `limits.memory`.
        """
        assert isinstance(graph, PermutationGraph)
        began = time.perf_counter()
        search = _Search(graph, limits.memory)
        walk = walked(search.step, limits, began)
        found = search.symmetries
        inversion = ", half of them with inversion" if found.turned.any() else ""
        return Growth(
            title=graph.title,
            **walk._asdict(),
            method=f"{self.name}: {search.orbits} orbits of {found.order} symmetries{inversion}",
            memory=self.memory(graph),
            last_layer=search.states() if walk.layers[-1] <= limits.keep else None,
        )


class _Search:
    """The orbits of the last layers, and one step to the next."""

    def __init__(self, graph: PermutationGraph, memory: int) -> None:
        self.graph, self.memory = graph, memory
        self.symmetries = found = _found(graph)
        self.batch_bytes = _batch_bytes(graph)
        self.keys = StateKeys(PermutationGraph(graph.distinct))
        self.moves = np.array(graph.distinct, dtype=np.uint8)
        self.maps = np.stack([found.maps, np.argsort(found.maps, axis=1).astype(np.uint8)])
        self.slots = np.argsort(found.blocks, kind="stable").astype(np.uint8)
        self.sorting = (found.blocks, self.slots) if found.exchanges > 1 else (found.blocks[:0], self.slots[:0])
        self.last = self.keys.pack(np.array([identity(graph.size)]))
        self.seen = [self.last]  # sorted runs: two layers, or everything in runs of falling length
        self.orbits = 1

    def step(self) -> int:
        """Replace the last layer by the next, unless that is empty; the number of states in the next."""
        size, new = self.batch_bytes // _bytes_of_one(self.graph), self.last[:0]
        for first in range(0, len(self.last), size):
            found = _distinct(self._neighbors(self.last[first : first + size]))
            for run in self.seen:
                found = found[~contained(found, run)]
            new = _distinct(np.concatenate([new, found]))
            self._check(new)
        if len(new):
            self._remember(new)
            self.last = new
            self.orbits += len(new)
        return self._states_in(new)

    def _neighbors(self, keys: _Keys) -> _Keys:
        """The orbits next to some orbits, as keys of their least members."""
        states = self.keys.unpack(keys).astype(np.uint8)
        reached = states[:, self.moves].reshape(-1, self.graph.size)
        if self.symmetries.turned.any():
            reached = np.concatenate([reached, self.moves[:, states].reshape(-1, self.graph.size)])
        return self.keys.pack(self._least(reached)[0])

    def _least(self, states: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        least, hits = np.empty_like(states), np.empty(len(states), dtype=np.int64)
        least_images(states, self.maps, self.symmetries.turned, self.sorting, (least, hits))
        return least, hits

    def _remember(self, new: _Keys) -> None:
        if self.graph.inverse_closed:
            self.seen = [self.last, new]
            return
        self.seen.append(new)
        while len(self.seen) > 1 and 2 * len(self.seen[-1]) > len(self.seen[-2]):
            self.seen[-2:] = [np.sort(np.concatenate(self.seen[-2:]), kind="stable")]

    def _check(self, new: _Keys) -> None:
        need = sum(run.nbytes for run in self.seen) + 2 * new.nbytes + 4 * self.batch_bytes
        if need > self.memory:
            orbits = self.orbits + len(new)
            raise CapacityError(
                f"{self.graph.title} has more than {orbits} orbits of {self.symmetries.order} symmetries; "
                f"that needs more than {need} bytes, allowed are {self.memory}. Raise memory=, or lower max_layers=."
            )

    def _states_in(self, keys: _Keys) -> int:
        """How many states the orbits have together."""
        if not len(keys):
            return 0
        states = self.keys.unpack(keys).astype(np.uint8)
        kept = self._least(states)[1]
        if not len(self.sorting[0]):
            return int((len(self.symmetries.maps) // kept).sum())
        factors = np.ones((len(keys), self.graph.size + 1), dtype=np.int64)
        factors[:, -1] = kept
        kept_exchanges(states, *self.sorting, factors[:, :-1])
        order = self.symmetries.order
        return sum(order // int(kept) for kept in np.multiply.reduce(factors, axis=1, dtype=object))

    def states(self) -> NDArray[np.int64]:
        """The states of the last layer, [states, n]: the orbits written out."""
        found = {tuple(state) for state in self.keys.unpack(self.last).tolist()}
        border = found
        while border:
            rows = np.array(sorted(border), dtype=np.uint8)
            images = [self._image(rows, index) for index in range(len(self.symmetries.maps))]
            images += [exchange[rows[:, exchange]] for exchange in self._exchanges()]
            border = {tuple(state) for state in np.concatenate(images).tolist()} - found
            found |= border
        return np.array(self.graph.start)[np.array(sorted(found))].astype(np.int64)

    def _image(self, rows: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        source = np.argsort(rows, axis=1).astype(np.uint8) if self.symmetries.turned[index] else rows
        return self.maps[0, index][source[:, self.maps[1, index]]]

    def _exchanges(self) -> list[NDArray[np.uint8]]:
        """Exchanges of two places that are next to each other in a block: together they give all inside blocks."""
        found = []
        for first, second in zip(self.slots[:-1], self.slots[1:], strict=True):
            if self.symmetries.blocks[first] == self.symmetries.blocks[second]:
                exchange = np.arange(self.graph.size, dtype=np.uint8)
                exchange[[first, second]] = second, first
                found.append(exchange)
        return found


def _found(graph: PermutationGraph) -> Symmetries:
    found = symmetries(graph.distinct)
    assert found is not None, "refuses() comes first"
    return found


def _batch_bytes(graph: PermutationGraph) -> int:
    return max(_BATCH, _bytes_of_one(graph))


def _bytes_of_one(graph: PermutationGraph) -> int:
    """Bytes of one state's neighbors on both sides, and of their least images."""
    return 4 * graph.size * len(graph.distinct)


def _distinct(keys: _Keys) -> _Keys:
    """The keys in order, each once; `keys` is sorted in place. Several times faster than numpy's, which hashes."""
    keys.sort()
    different = np.ones(len(keys), dtype=np.bool_)
    different[1:] = keys[1:] != keys[:-1]
    return keys[different]


@lru_cache
def _orbits_of_exchanges(sizes: tuple[int, ...]) -> int:
    """How many orbits the permutations have under exchanges inside blocks of these sizes: multisets of necklaces.

    It is the coefficient of the product of x_b^size_b in the product over k >= 1 of 1 / (1 - sum_b x_b^k).
    """
    if sizes[-1] == 1:
        return factorial(len(sizes))

    @cache
    def coefficient(left: tuple[int, ...], power: int) -> int:
        left = tuple(size for size in left if size)
        if not left:
            return 1
        if power > max(left):
            return 0
        smaller = (
            tuple(sorted((*left[:block], size - power, *left[block + 1 :])))
            for block, size in enumerate(left)
            if size >= power
        )
        return coefficient(left, power + 1) + sum(coefficient(rest, power) for rest in smaller)

    return coefficient(sizes, 1)

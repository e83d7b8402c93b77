# SPDX-License-Identifier: Apache-2.0
"""Group elements by the images of a base: where a few letters are says where all are.

If every group element that leaves letter u in place also leaves v in place, u's position gives v's: the stickers of a
piece of a puzzle, or the two sides of a signed letter. One letter of each such set is stored; of an orbit in which each
letter is its own set, the last is what the others leave. A field is the position's number within its orbit, and a
generator sends each position to one position, whatever letter is there: table look-ups. A cube of 48 stickers takes 20
fields of 5 bits.
"""

from math import factorial, prod

import numpy as np
from numpy.typing import NDArray

from rankwise.symmetry.cayley.engines.fields import Fields
from rankwise.symmetry.cayley.engines.moving import looked_up
from rankwise.symmetry.cayley.engines.places import followers, orbits
from rankwise.symmetry.cayley.graph import PermutationGraph


class ImagePacking:
    """Positions of base letters side by side.

    Args:
        graph: whose states; a group.
    """

    def __init__(self, graph: PermutationGraph) -> None:
        self._letters = graph.start_states[0]
        self._orbits = [orbit for orbit in orbits(graph) if len(orbit) > 1]
        self._follow: dict[int, tuple[int, NDArray[np.int64]]] = {}  # place: its leader, and where it is then
        self._left_over: dict[int, NDArray[np.int64]] = {}  # place: its orbit
        self._number = np.zeros(graph.size, dtype=np.int64)  # of each place, within its orbit
        self.base, orders = self._chosen(graph)
        self.order = prod(orders)
        self._orbit_of = [next(orbit for orbit in self._orbits if place in orbit) for place in self.base]
        self.fields = Fields.of([(len(orbit) - 1).bit_length() for orbit in self._orbit_of])
        self.words = self.fields.words
        self.generators = len(graph.distinct)
        turned = np.argsort(np.array(graph.distinct, dtype=np.int64).reshape(-1, graph.size), axis=1)
        self._tables = [
            self.fields.tables(lambda field, to=places: (field, self._number[to[self._orbit_of[field]]]))
            for places in turned
        ]

    def _chosen(self, graph: PermutationGraph) -> tuple[list[int], list[int]]:
        """The places whose letters are stored, and a bound on the ways in which each orbit's letters can lie."""
        base: list[int] = []
        orders: list[int] = []
        for orbit in sorted(self._orbits, key=len, reverse=True):
            self._number[orbit] = np.arange(len(orbit))
            leaders: list[int] = []
            for place in orbit.tolist():
                if place in self._follow:
                    continue
                leaders.append(place)
                for other, images in followers(graph, place).items():
                    self._follow.setdefault(other, (place, images))
            orders.append(factorial(len(leaders)) * (len(orbit) // len(leaders)) ** len(leaders) if leaders else 1)
            if len(leaders) == len(orbit):
                self._left_over[leaders.pop()] = orbit
            base += leaders
        return base, orders

    def numbers_and_places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What a field holds for each place, and the place for what it holds: [fields, n] each."""
        places = np.zeros((len(self.base), len(self._letters)), dtype=np.int64)
        for field, orbit in enumerate(self._orbit_of):
            places[field, : len(orbit)] = orbit
        return np.tile(self._number, (len(self.base), 1)), places

    def start(self) -> NDArray[np.uint64]:
        """The start, [1, W]."""
        return self.fields.packed(self._number[self.base][None])

    def moved(self, states: NDArray[np.uint64], generator: int) -> NDArray[np.uint64]:
        """One generator applied to every state: [m, W] -> [m, W]."""
        return looked_up(states, *self._tables[generator])

    def unpacked(self, states: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The words, [m, W] -> [m, n]."""
        places = np.tile(np.arange(len(self._letters)), (len(states), 1))  # of each letter of the start
        numbers = self.fields.unpacked(states)
        for column, (place, orbit) in enumerate(zip(self.base, self._orbit_of, strict=True)):
            places[:, place] = orbit[numbers[:, column]]
        for place, orbit in self._left_over.items():
            others = orbit[orbit != place]
            places[:, place] = orbit.sum() - places[:, others].sum(axis=1)
        for place, (leader, images) in self._follow.items():
            places[:, place] = images[places[:, leader]]
        words = np.empty_like(places)
        np.put_along_axis(words, places, np.broadcast_to(self._letters, places.shape), axis=1)
        return words

# SPDX-License-Identifier: Apache-2.0
"""The faces of the hull of a highest weight module's weights: counted, listed and compared without a hull.

Every face is w F_J with w in the Weyl group of the integrable nodes and F_J spanned from the highest weight by the
simple roots of J. With J_min the components of J that hold an active node (one that is not integrable or on which the
highest weight is not 0) and J_max = J_min and the inactive nodes not joined to it, F_J = F_K exactly if J_min = K_min,
dim F_J = |J_min|, and W_(I_V meet J_max) is the stabilizer of F_J in W_(I_V). Hence

    f(q) = sum over J = J_min of [W_(I_V) : W_(I_V meet J_max)] q^|J|,

and w F_J lies in w' F_K exactly if J_min is in K_min and w'^-1 w in W_(I_V meet K_max) W_(I_V meet J_max). Reference:
Dhillon, Khare, Faces of highest weight modules and the universal Weyl polyhedron, https://arxiv.org/abs/1611.00114.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rankwise.errors import CapacityError, SymmetryError
from rankwise.symmetry.weyl.cartan import Cartan
from rankwise.symmetry.weyl.orbits import Reflections, Word
from rankwise.symmetry.weyl.subsets import component, mask_of, nodes_of


@dataclass(frozen=True)
class Face:
    """The face w F_J.

    Args:
        nodes: J = J_min, ascending; their number is the dimension.
        word: the reduced word of the shortest w, its letters from left to right; () for a standard face.
    """

    nodes: tuple[int, ...]
    word: Word = ()

    @property
    def dimension(self) -> int:
        """The dimension of the face."""
        return len(self.nodes)


class StandardFace(NamedTuple):
    """An orbit of faces.

    Args:
        nodes: J_min, ascending.
        largest: J_max, ascending; every set between the two gives the same face.
        count: the number of faces in the orbit, math.inf if there is no end.
    """

    nodes: tuple[int, ...]
    largest: tuple[int, ...]
    count: int | float


@dataclass(frozen=True)
class FaceLattice:
    """All nonempty faces and which lie directly in which.

    Args:
        faces: by dimension; the last one is the whole body.
        covers: pairs (i, j): face i is a facet of face j.
    """

    faces: tuple[Face, ...]
    covers: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class FaceSystem:
    """Everything about faces that needs the active and the integrable nodes only.

    Args:
        cartan: the generalized Cartan matrix.
        active: bit mask of the active nodes; every node that is not integrable must be among them.
        integrable: bit mask of the integrable nodes.
    """

    cartan: Cartan
    active: int
    integrable: int

    @property
    def inactive(self) -> int:
        """Mask of the inactive nodes."""
        return ((1 << self.cartan.rank) - 1) & ~self.active

    def j_min(self, mask: int) -> int:
        """The components of the mask that hold an active node."""
        kept = 0
        while mask:
            part = component(self.cartan.around, mask)
            kept |= part if part & self.active else 0
            mask ^= part
        return kept

    def j_max(self, mask: int) -> int:
        """J_min and the inactive nodes that are not joined to it."""
        least = self.j_min(mask)
        alone = (node for node in nodes_of(self.inactive & ~least) if not self.cartan.around[node] & least)
        return least | sum(1 << node for node in alone)

    def stabilizer(self, mask: int) -> int:
        """The nodes whose reflections generate the stabilizer of F_J."""
        return self.integrable & self.j_max(mask)

    def index(self, subgroup: int) -> int | float:
        """[W_(I_V) : W_K] for a mask K inside the integrable nodes; math.inf if it is infinite."""
        whole = self.cartan.order_of(self.integrable)
        if isinstance(whole, int):
            return whole // self.cartan.order_of(subgroup)  # type: ignore[return-value]
        cartan, left, index = self.cartan, self.integrable, 1
        while left:
            part = component(cartan.around, left)
            left ^= part
            if part & ~subgroup:
                whole = cartan.order_of(part)
                if whole == math.inf:
                    return math.inf  # a proper parabolic subgroup of an infinite irreducible Coxeter group
                index *= int(whole) // int(cartan.order_of(part & subgroup))
        return index

    def f_vector(self) -> tuple[int | float, ...]:
        """The number of faces of each dimension 0..r."""
        counts: list[int | float] = [0] * (self.cartan.rank + 1)
        least, stabilizers = self._orbits()
        step = self.cartan.rank + 1
        kinds = Counter((stabilizers * step + self.cartan.subsets.sizes[least]).tolist())
        for kind, repeats in kinds.items():
            counts[kind % step] += repeats * self.index(kind // step)
        return tuple(counts)

    def standard_faces(self) -> tuple[StandardFace, ...]:
        """The orbits of faces, by dimension."""
        found = [
            StandardFace(nodes_of(least), nodes_of(self.j_max(least)), self.index(stabilizer))
            for least, stabilizer in zip(*(part.tolist() for part in self._orbits()), strict=True)
        ]
        return tuple(sorted(found, key=lambda face: (len(face.nodes), face.nodes)))

    def faces(self, dimension: int | None = None, max_length: int | None = None) -> Iterator[Face]:
        """The faces one by one, those of short words first; endless if they are and no length is given."""
        orbits = [
            (face.nodes, self.reflections.orbit(self._generic(mask_of(face.nodes, self.cartan.rank, "")), max_length))
            for face in self.standard_faces()
            if dimension is None or len(face.nodes) == dimension
        ]
        length = 0
        waiting = [(nodes, orbit, next(orbit, None)) for nodes, orbit in orbits]
        while waiting:
            later = []
            for nodes, orbit, member in waiting:
                while member is not None and len(member.word) == length:
                    yield Face(nodes, member.word)
                    member = next(orbit, None)  # noqa: PLW2901  the orbit goes on where it was
                if member is not None:
                    later.append((nodes, orbit, member))
            waiting, length = later, length + 1

    def face(self, nodes: Iterable[int], word: Iterable[int] = ()) -> Face:
        """The face w F_J in the one form that equal faces share.

        Raises:
            SymmetryError: if a node does not exist, or a letter is no integrable node.
        """
        least = self.j_min(mask_of(nodes, self.cartan.rank, "face"))
        letters = tuple(word)
        wrong = [letter for letter in letters if letter not in self.reflections.columns]
        if wrong:
            raise SymmetryError(
                f"{wrong[0]!r} in the word is no integrable node; faces are moved by the reflections of "
                f"{self.reflections.nodes} only."
            )
        moved = self.reflections.applied(letters, self._generic(least))
        return Face(nodes_of(least), self.reflections.lifted(moved)[0])

    def contains(self, outer: Face, inner: Face) -> bool:
        """Whether the first face contains the second; equal faces contain each other.

        With p a point that exactly W_(I_V meet J_max) fixes, w'^-1 w lies in the double coset exactly if w'^-1 w p and
        p have the same dominant point under W_(I_V meet K_max). No double coset is ever listed.

        Raises:
            SymmetryError: if one of them is no face of this system.
        """
        outer, inner = self.face(outer.nodes, outer.word), self.face(inner.nodes, inner.word)
        above, below = (mask_of(face.nodes, self.cartan.rank, "face") for face in (outer, inner))
        if below & ~above:
            return False
        point = self._generic(below)
        moved = self.reflections.applied(outer.word[::-1], self.reflections.applied(inner.word, point))
        nodes = set(nodes_of(self.stabilizer(above)))
        while (i := next((node for node in nodes if moved[node] < 0), None)) is not None:
            moved = self.reflections.reflected(moved, i)
        return moved == point

    def face_lattice(self, most: int = 100_000) -> FaceLattice:
        """All nonempty faces with their inclusions of one dimension.

        Raises:
            CapacityError: if there are more than `most` faces; the message says how many.
        """
        total = sum(self.f_vector())
        if total > most:
            count = "infinitely many" if total == math.inf else f"{total:,}"
            raise CapacityError(f"There are {count} faces, more than most={most:,}; list some of them by faces().")
        faces = sorted(self.faces(), key=lambda face: face.dimension)
        number = {face: place for place, face in enumerate(faces)}
        covers = []
        for nodes in {face.nodes for face in faces}:
            below = self._facets(mask_of(nodes, self.cartan.rank, "face"))
            for outer in faces:
                if outer.nodes == nodes:
                    inner = (self.face(face.nodes, outer.word + face.word) for face in below)
                    covers += [(number[face], number[outer]) for face in inner]
        return FaceLattice(tuple(faces), tuple(sorted(covers)))

    @cached_property
    def reflections(self) -> Reflections:
        """The group that acts on the hull."""
        return Reflections(self.cartan.rows, nodes_of(self.integrable))

    def _facets(self, above: int) -> list[Face]:
        """The facets of a standard face: the orbits of its standard facets under its own stabilizer."""
        inside = Reflections(self.cartan.rows, nodes_of(self.stabilizer(above)))
        smaller = [above ^ (1 << node) for node in nodes_of(above)]
        return [
            Face(nodes_of(mask), member.word)
            for mask in smaller
            if self.j_min(mask) == mask
            for member in inside.orbit(self._generic(mask))
        ]

    def _orbits(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Every J = J_min and the nodes of its stabilizer."""
        tables = self.cartan.subsets
        least = tables.touching(self.active)
        return least, self.integrable & (least | (self.inactive & ~tables.hoods[least]))

    def _generic(self, least: int) -> tuple[int, ...]:
        """Labels of a dominant point that exactly the stabilizer of F_J fixes."""
        fixing = self.stabilizer(least)
        return tuple(int(self.integrable >> i & 1 and not fixing >> i & 1) for i in range(self.cartan.rank))

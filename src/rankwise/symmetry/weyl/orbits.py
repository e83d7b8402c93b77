# SPDX-License-Identifier: Apache-2.0
"""Orbits of a Weyl group, point by point and by length, and words in its simple reflections.

A point is known by its labels m_i = <alpha_i^vee, point>; s_i subtracts m_i alpha_i, so it subtracts A_ji m_i from
every m_j. For a dominant p the orbit W p is the set of cosets of p's stabilizer, which the nodes of label 0 generate,
and a point's distance from p is the length of its coset's shortest element. Every point but p has a unique parent, the
one that its smallest node of negative label leads back to; walking along parents alone visits each point once without
remembering the others. The letters met on the way are a reduced word, the same for everybody.

A word (i, j, k) stands for s_i s_j s_k; s_k acts first. Labels are Python integers, which do not overflow.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from rankwise.symmetry.weyl.roots import Matrix, Vector

Word = tuple[int, ...]


class Member(NamedTuple):
    """A point of an orbit.

    Args:
        word: of the shortest element that leads from the start to the point.
        labels: <alpha_i^vee, point> for the nodes of the group, 0 for the others.
        drop: start minus point, in coordinates of the simple roots.
    """

    word: Word
    labels: Vector
    drop: Vector


class Reflections:
    """The group that the reflections of some nodes generate.

    Args:
        matrix: the generalized Cartan matrix.
        nodes: the nodes, ascending.
    """

    def __init__(self, matrix: Matrix, nodes: tuple[int, ...]) -> None:
        self.matrix, self.nodes, self.size = matrix, nodes, len(matrix)
        self.columns = {i: tuple((j, matrix[j][i]) for j in nodes if matrix[j][i]) for i in nodes}

    def orbit(self, labels: Iterable[int], max_length: int | None = None) -> Iterator[Member]:
        """The orbit of a dominant point with these labels, by length; endless if it is infinite and has no bound."""
        zero = (0,) * self.size
        start = tuple(label if i in self.columns else 0 for i, label in enumerate(labels))
        layer, length = [Member((), start, zero)], 0
        while layer:
            yield from layer
            if length == max_length:
                return
            layer, length = [child for member in layer for child in self._children(member)], length + 1

    def _children(self, member: Member) -> Iterator[Member]:
        for i in self.nodes:
            label = member.labels[i]
            if label <= 0:
                continue
            labels = self.reflected(member.labels, i)
            if all(labels[k] >= 0 for k in self.nodes if k < i):
                drop = member.drop
                yield Member((i, *member.word), labels, (*drop[:i], drop[i] + label, *drop[i + 1 :]))

    def reflected(self, labels: Vector, i: int) -> Vector:
        """The labels of s_i of the point."""
        moved, label = list(labels), labels[i]
        for j, entry in self.columns[i]:
            moved[j] -= entry * label
        return tuple(moved)

    def applied(self, word: Word, labels: Vector) -> Vector:
        """The labels of the word's image of the point."""
        for i in reversed(word):
            labels = self.reflected(labels, i)
        return labels

    def lifted(self, labels: Vector) -> tuple[Word, Vector]:
        """The dominant point of the orbit and the reduced word that leads from it to the given point.

        The point must lie in an orbit that has a dominant point; otherwise there is no end.
        """
        word: list[int] = []
        while True:
            i = next((node for node in self.nodes if labels[node] < 0), None)
            if i is None:
                return tuple(word), labels
            labels = self.reflected(labels, i)
            word.append(i)


def moved_direction(matrix: Matrix, word: Word, direction: Vector) -> Vector:
    """The word's image of a vector in coordinates of the simple roots."""
    moved = list(direction)
    for i in reversed(word):
        moved[i] -= sum(entry * part for entry, part in zip(matrix[i], moved, strict=True))
    return tuple(moved)


def moved_functional(matrix: Matrix, word: Word, i: int) -> Vector:
    """Row i of the matrix of the word's inverse: the numbers n_j with (w^-1 d)_i = sum_j n_j d_j."""
    row = [int(j == i) for j in range(len(matrix))]
    for k in reversed(word):
        part = row[k]
        for j, entry in enumerate(matrix[k]):
            row[j] -= part * entry
    return tuple(row)

# SPDX-License-Identifier: Apache-2.0
"""The hull itself: its vertices, its rays, its facets' inequalities, and the part of them that spans one face.

conv V = conv(W_(I_V) lam) - cone(W_(I_V) alpha_i : i not in I_V). A point v is stored by the integers c with
v = lam - sum c_i alpha_i, a direction by d with -sum d_i alpha_i. The facet w F_J, J all nodes of the body but i, lies
in the half-space (w^-1 c)_i >= 0; on it equality holds. Reference: https://arxiv.org/abs/1611.00114.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from rankwise.symmetry.weyl.faces import Face, FaceSystem
from rankwise.symmetry.weyl.orbits import Reflections, Word, moved_direction, moved_functional
from rankwise.symmetry.weyl.roots import Vector
from rankwise.symmetry.weyl.subsets import mask_of, nodes_of

Label = int | Fraction


class Inequality(NamedTuple):
    """A facet's half-space, sum_i normal[i] c[i] + constant >= 0.

    Args:
        normal: one integer for each node.
        constant: an integer.
        face: the facet, where equality holds.
    """

    normal: Vector
    constant: int
    face: Face


class Hull:
    """Generators and half-spaces of the hull of a highest weight module's weights.

    Args:
        system: the faces.
        lam: <alpha_i^vee, lam> for each node; at integrable nodes integers from 0.
    """

    def __init__(self, system: FaceSystem, lam: Sequence[Label]) -> None:
        self.system, self.matrix = system, system.cartan.rows
        # Only integrable nodes reflect, so the highest weight's other labels move no point.
        self.lam = tuple(int(label) if system.integrable >> i & 1 else 0 for i, label in enumerate(lam))
        self.free = nodes_of(((1 << len(self.matrix)) - 1) & ~system.integrable)

    def vertices(self, max_length: int | None = None) -> Iterator[Vector]:
        """The orbit of the highest weight."""
        return (member.drop for member in self.system.reflections.orbit(self.lam, max_length))

    def rays(self, max_length: int | None = None) -> Iterator[Vector]:
        """The orbits of the simple roots that are not integrable, one after the other."""
        return (ray for node in self.free for ray in self.cone(self.system.reflections, node, max_length))

    def cone(self, group: Reflections, node: int, max_length: int | None = None) -> Iterator[Vector]:
        """The orbit of one simple root under a group of reflections of other nodes."""
        labels = [-row[node] for row in self.matrix]
        for member in group.orbit(labels, max_length):
            yield tuple(part + (i == node) for i, part in enumerate(member.drop))

    def moved(self, word: Word, point: Vector) -> Vector:
        """The coordinates c of w(lam - sum point_i alpha_i), w a word of integrable nodes."""
        moved = list(point)
        for i in reversed(word):
            moved[i] += self.lam[i] - sum(entry * part for entry, part in zip(self.matrix[i], moved, strict=True))
        return tuple(moved)

    def generators(self, face: Face) -> tuple[Iterator[Vector], Iterator[Vector]]:
        """The vertices and the rays that span a face."""
        inside = self.system.integrable & mask_of(face.nodes, len(self.matrix), "face")
        group = Reflections(self.matrix, nodes_of(inside))
        points = (self.moved(face.word, member.drop) for member in group.orbit(self.lam))
        free = [node for node in face.nodes if node in self.free]
        rays = (moved_direction(self.matrix, face.word, ray) for node in free for ray in self.cone(group, node))
        return points, rays

    def inequalities(self, max_length: int | None = None) -> Iterator[Inequality]:
        """The half-spaces of the facets."""
        body = nodes_of(self.system.j_min((1 << len(self.matrix)) - 1))
        origin = (0,) * len(self.matrix)
        for face in self.system.faces(len(body) - 1, max_length):
            (missing,) = set(body) - set(face.nodes)
            normal = moved_functional(self.matrix, face.word, missing)
            vertex = self.moved(face.word, origin)
            yield Inequality(normal, -sum(n * c for n, c in zip(normal, vertex, strict=True)), face)

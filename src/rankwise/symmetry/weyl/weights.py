# SPDX-License-Identifier: Apache-2.0
"""The weights of simple modules and of parabolic Verma modules, one by one and by height.

wt L(lam) = conv L(lam) meet (lam - Z>=0 {alpha_i}), and likewise for M(lam, J). A weight is moved into the dominant
chamber of the integrable nodes; there lam - sum c_i alpha_i with c >= 0 is a weight exactly if every component of c's
support holds an active node (Kac, Infinite dimensional Lie algebras, proposition 11.2, slice by slice). Other modules
with the same hull can have holes, which nothing here sees. References: https://arxiv.org/abs/1611.00114.
"""

from collections.abc import Iterator, Sequence

from rankwise.symmetry.weyl.faces import FaceSystem
from rankwise.symmetry.weyl.roots import Vector
from rankwise.symmetry.weyl.subsets import nodes_of


class Weights:
    """The weights as coordinates c of lam - sum c_i alpha_i.

    Args:
        system: the faces.
        lam: <alpha_i^vee, lam>, read at integrable nodes only.
    """

    def __init__(self, system: FaceSystem, lam: Sequence[int]) -> None:
        self.system, self.lam = system, tuple(lam)
        self.matrix, self.nodes = system.cartan.rows, nodes_of(system.integrable)

    def dominant(self, point: Vector) -> Vector | None:
        """The point of the orbit that is dominant for the integrable nodes; None if that is not below lam."""
        moved = list(point)
        labels = {i: self.label(i, moved) for i in self.nodes}
        while (i := next((node for node in self.nodes if labels[node] < 0), None)) is not None:
            moved[i] += labels[i]
            if moved[i] < 0:
                return None
            labels = {node: self.label(node, moved) for node in self.nodes}
        return tuple(moved)

    def label(self, i: int, point: Sequence[int]) -> int:
        """<alpha_i^vee, lam - sum point_j alpha_j>."""
        return self.lam[i] - sum(entry * part for entry, part in zip(self.matrix[i], point, strict=True))

    def contains(self, point: Vector) -> bool:
        """Whether lam - sum point_i alpha_i is a weight."""
        raised = self.dominant(point) if min(point) >= 0 else None
        if raised is None:
            return False
        support = sum(1 << i for i, part in enumerate(raised) if part)
        return self.system.j_min(support) == support

    def by_height(self) -> Iterator[list[Vector]]:
        """The weights of height 0, 1, ... until there are no more; below each weight stands one of height one less."""
        layer = [(0,) * len(self.matrix)]
        while layer:
            yield layer
            lower = {
                (*point[:i], point[i] + 1, *point[i + 1 :]): None for point in layer for i in range(len(self.matrix))
            }
            layer = [point for point in lower if self.contains(point)]

# SPDX-License-Identifier: Apache-2.0
r"""The hull as it looks along one face.

For F = w F_J the tangent cone is

    T_F = aff(F) - cone(w W_(J_max \ J_min) alpha_i : i not in J_max),

which the rays of conv V - F and the directions of F span. At the vertex lam it is conv M(lam, S) with S the inactive
nodes. It contains w conv M(lam, I_V meet J_max), the hull of a module induced from the parabolic of J_max, which in
turn contains conv V. The intersection of the tangent cones at the points of F is another, smaller set and is not
computed.
Reference: https://arxiv.org/abs/1611.00114.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from rankwise.errors import CapacityError
from rankwise.symmetry.weyl.faces import Face
from rankwise.symmetry.weyl.hull import Hull
from rankwise.symmetry.weyl.orbits import Reflections, moved_direction
from rankwise.symmetry.weyl.roots import Vector
from rankwise.symmetry.weyl.subsets import mask_of, nodes_of


@dataclass(frozen=True)
class TangentCone:
    """point + span(lines) + cone(rays), in the coordinates of the hull.

    Args:
        point: c of a vertex of the face.
        lines: directions d along the face, as many as it has dimensions.
        rays: directions d into the hull.
    """

    point: Vector
    lines: tuple[Vector, ...]
    rays: tuple[Vector, ...]


def tangent_cone(hull: Hull, face: Face, max_length: int | None) -> TangentCone:
    """The tangent cone along a face, with the rays of words up to a length.

    Raises:
        CapacityError: if there are infinitely many rays and no length is given.
    """
    system, size = hull.system, len(hull.matrix)
    least = mask_of(face.nodes, size, "face")
    most = system.j_max(least)
    turning = nodes_of(most & ~least)
    if max_length is None and system.cartan.order(turning) == math.inf:
        raise CapacityError(
            f"The reflections of {turning} along this face generate an infinite group, so its tangent cone has "
            "infinitely many rays; give max_length."
        )
    group = Reflections(hull.matrix, turning)
    rays = (ray for node in range(size) if not most >> node & 1 for ray in hull.cone(group, node, max_length))
    units = (tuple(int(i == node) for i in range(size)) for node in face.nodes)
    return TangentCone(hull.moved(face.word, (0,) * size), _moved(hull, face, units), _moved(hull, face, rays))


def _moved(hull: Hull, face: Face, directions: Iterable[Vector]) -> tuple[Vector, ...]:
    return tuple(moved_direction(hull.matrix, face.word, direction) for direction in directions)

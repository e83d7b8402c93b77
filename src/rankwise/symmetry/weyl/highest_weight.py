# SPDX-License-Identifier: Apache-2.0
"""A highest weight module over a Kac-Moody algebra, as far as the hull of its weights sees it.

The hull of V's weights depends on the highest weight lam and on the integrable nodes I_V only: the nodes i with
lam_i = <alpha_i^vee, lam> in Z>=0 for which f_i^(lam_i + 1) kills the highest weight vector. Points are stored as the
integers c of lam - sum c_i alpha_i. Everything is exact; no hull is ever computed. Reference: Dhillon, Khare, Faces of
highest weight modules and the universal Weyl polyhedron, https://arxiv.org/abs/1611.00114.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from rankwise.errors import SymmetryError
from rankwise.symmetry.weyl.cartan import Cartan
from rankwise.symmetry.weyl.checks import checked_point, checked_weight, integrability
from rankwise.symmetry.weyl.faces import Face, FaceLattice, FaceSystem, StandardFace
from rankwise.symmetry.weyl.hull import Hull, Inequality, Label
from rankwise.symmetry.weyl.localization import TangentCone, tangent_cone
from rankwise.symmetry.weyl.multiplicities import Freudenthal
from rankwise.symmetry.weyl.roots import Vector
from rankwise.symmetry.weyl.subsets import mask_of, nodes_of
from rankwise.symmetry.weyl.weights import Weights


@dataclass(frozen=True)
class HighestWeight:
    """The hull of the weights of a highest weight module V, and for two kinds of modules the weights themselves.

    Args:
        cartan: the generalized Cartan matrix; nodes are numbered from 0.
        lam: the numbers <alpha_i^vee, lam>, each an integer or a `fractions.Fraction`.
        integrable: I_V. None is the simple module L(lam): every node with lam_i in Z>=0. Nodes stand for any module
            with this I_V: faces are known, weights are refused, because such modules can differ in their weights.
        parabolic_verma: whether the module is M(lam, I_V), so that its weights are known too.

    Raises:
        SymmetryError: if lam does not fit the matrix, or a node cannot be integrable for this weight.

    Example:
        >>> HighestWeight(Cartan.of("E8"), (1,) * 8).f_vector()[:3]
        (696729600, 2786918400, 4470681600)
        >>> HighestWeight(Cartan.of("A2"), (0, 3), integrable=[0]).f_vector()
        (1, 2, 1)
    """

    cartan: Cartan
    lam: Sequence[Label]
    integrable: Iterable[int] | None = None
    parabolic_verma: bool = False
    _simple: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_simple", self.integrable is None)
        object.__setattr__(self, "lam", checked_weight(self.cartan, self.lam))
        object.__setattr__(self, "integrable", integrability(self.lam, self.integrable))

    @cached_property
    def system(self) -> FaceSystem:
        """The faces as bit masks of nodes."""
        integrable = mask_of(self.integrable or (), self.cartan.rank, "integrable")
        active = sum(1 << i for i, label in enumerate(self.lam) if label or not integrable >> i & 1)
        return FaceSystem(self.cartan, active, integrable)

    @property
    def active(self) -> tuple[int, ...]:
        """The nodes that are not integrable or on which the weight is not 0; faces depend on them and I_V only."""
        return nodes_of(self.system.active)

    @property
    def is_bounded(self) -> bool:
        """Whether the hull is bounded: all nodes integrable and finitely many vertices."""
        return self._is_whole and self.system.index(self.system.stabilizer(0)) != math.inf

    def f_vector(self) -> tuple[int | float, ...]:
        """The number of faces of each dimension 0..r, the hull itself included; math.inf where there is no end.

        The sum of (-1)^k f_k is 1 for a bounded hull and 0 for an unbounded one with finitely many faces.

        Raises:
            CapacityError: if there are more than 20 nodes.
        """
        return self.system.f_vector()

    def standard_faces(self) -> tuple[StandardFace, ...]:
        """The orbits of faces by dimension: J_min, J_max and how many faces each has."""
        return self.system.standard_faces()

    def j_min(self, nodes: Iterable[int]) -> tuple[int, ...]:
        """The components of a set of nodes that hold an active node: the least set with the same standard face."""
        return nodes_of(self.system.j_min(mask_of(nodes, self.cartan.rank, "j_min")))

    def j_max(self, nodes: Iterable[int]) -> tuple[int, ...]:
        """J_min and the inactive nodes not joined to it: the largest set with the same standard face."""
        return nodes_of(self.system.j_max(mask_of(nodes, self.cartan.rank, "j_max")))

    def faces(self, dimension: int | None = None, max_length: int | None = None) -> Iterator[Face]:
        """The faces one by one, by the length of their words; lazy, and endless where there is no end and no bound.

        Args:
            dimension: only faces of this dimension.
            max_length: of the words.
        """
        return self.system.faces(dimension, max_length)

    def face(self, nodes: Iterable[int], word: Iterable[int] = ()) -> Face:
        """The face w F_J; equal faces compare equal however they are named.

        Args:
            nodes: J, any set of nodes.
            word: the letters of w from left to right, integrable nodes; it need not be reduced.
        """
        return self.system.face(nodes, word)

    def contains(self, outer: Face, inner: Face) -> bool:
        """Whether the first face contains the second."""
        return self.system.contains(outer, inner)

    def face_lattice(self, most: int = 100_000) -> FaceLattice:
        """All nonempty faces and which is a facet of which.

        Raises:
            CapacityError: if there are more than `most` faces.
        """
        return self.system.face_lattice(most)

    @cached_property
    def hull(self) -> Hull:
        """The generators and half-spaces."""
        return Hull(self.system, self.lam)

    def vertices(self, max_length: int | None = None) -> Iterator[Vector]:
        """The vertices w lam as c; lazy, and endless where there is no end and no bound."""
        return self.hull.vertices(max_length)

    def rays(self, max_length: int | None = None) -> Iterator[Vector]:
        """The extreme directions -sum d_i alpha_i as d; none if all nodes are integrable."""
        return self.hull.rays(max_length)

    def generators(self, face: Face) -> tuple[Iterator[Vector], Iterator[Vector]]:
        """The vertices and the rays that span a face."""
        return self.hull.generators(self.face(face.nodes, face.word))

    def inequalities(self, max_length: int | None = None) -> Iterator[Inequality]:
        """The half-spaces of the facets: normal . c + constant >= 0.

        With c_i = 0 for the nodes i outside j_min of all nodes they describe the hull, if finitely many reflections of
        integrable nodes fix the highest weight; otherwise the hull is not polyhedral there and they contain it.
        """
        return self.hull.inequalities(max_length)

    def contains_weight(self, point: Sequence[int]) -> bool:
        """Whether lam - sum point_i alpha_i is a weight of the module.

        Raises:
            SymmetryError: if the module's weights are not known, or the point does not fit.
        """
        return self._weights.contains(checked_point(self.cartan, point))

    def weights(self, max_height: int | None = None) -> Iterator[Vector]:
        """The weights lam - sum c_i alpha_i as c, by height sum c_i.

        Args:
            max_height: the largest height; may be left out if the module has finitely many weights.

        Raises:
            SymmetryError: if the module's weights are not known, or there is no end and no bound.
        """
        if max_height is None and not self.is_bounded:
            raise SymmetryError("The module has infinitely many weights; give max_height, the largest sum of c.")
        layers = self._weights.by_height()
        heights = range(max_height + 1) if max_height is not None else iter(int, 1)
        return (point for _, layer in zip(heights, layers, strict=False) for point in layer)

    def multiplicities(self) -> dict[Vector, int]:
        """The multiplicity of every weight of an integrable module of finite type, by Freudenthal's formula.

        Raises:
            SymmetryError: if the module is not of that kind.
            CapacityError: if there are more than a million weights or a hundred thousand dominant ones.
        """
        return self._freudenthal.all()

    def dominant_multiplicities(self) -> dict[Vector, int]:
        """The multiplicities of the dominant weights only, highest first.

        Raises:
            SymmetryError: if the module is not integrable or not of finite type.
            CapacityError: if there are more than a hundred thousand of them.
        """
        return self._freudenthal.dominant()

    def module_dimension(self) -> int:
        """The dimension of an integrable module of finite type, by Weyl's formula.

        Raises:
            SymmetryError: if the module is not of that kind.
        """
        return self._freudenthal.dimension()

    def tangent_cone(self, face: Face, max_length: int | None = None) -> TangentCone:
        """The directions of the face and into the hull: what the hull is near an inner point of the face.

        Raises:
            CapacityError: if there are infinitely many rays and no `max_length` of their words.
        """
        return tangent_cone(self.hull, self.face(face.nodes, face.word), max_length)

    def parabolic_hull(self, face: Face) -> "HighestWeight":
        """M(lam, I_V meet J_max): its hull, moved by the face's word, lies between this hull and the tangent cone."""
        kept = self.system.stabilizer(mask_of(self.face(face.nodes).nodes, self.cartan.rank, "face"))
        return HighestWeight(self.cartan, self.lam, nodes_of(kept), parabolic_verma=True)

    @cached_property
    def _weights(self) -> Weights:
        if not (self._simple or self.parabolic_verma or self._is_integrable):
            raise SymmetryError(
                "The weights of a module are not determined by its highest weight and its integrable nodes: quotients "
                "of a Verma module can have holes that their hull does not show. They are known for L(lam), which is "
                "integrable=None, and for M(lam, J), which is integrable=J with parabolic_verma=True."
            )
        return Weights(self.system, self.lam)  # type: ignore[arg-type]

    @property
    def _is_whole(self) -> bool:
        return self.system.integrable == (1 << self.cartan.rank) - 1

    @property
    def _is_integrable(self) -> bool:
        return self.cartan.is_finite and self._is_whole

    @cached_property
    def _freudenthal(self) -> Freudenthal:
        self.cartan.ask_finite("Freudenthal's formula as it stands here")
        if not self._is_integrable:
            raise SymmetryError(
                "Multiplicities are computed for integrable modules only: every lam_i must be an integer from 0 and "
                f"every node integrable, but the integrable nodes are {self.integrable} of 0..{self.cartan.rank - 1}."
            )
        return Freudenthal(self._weights)

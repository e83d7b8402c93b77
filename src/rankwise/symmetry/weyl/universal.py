# SPDX-License-Identifier: Apache-2.0
"""The universal Weyl polyhedron: one cone whose slices are the hulls of all parabolic Verma modules M(lam, J) at once.

    P_J = {(x, lam) : <alpha_j^vee, lam> >= 0 for j in J, x in conv M(lam, J)},

a cone of dimension 2r with lines of dimension r - |J|. Its faces are the triples (Z, w, K): Z in J the coroots that
vanish on lam, w F_K a face of conv M(lam, J) for such a lam. Their dimension is |K| + r - |Z|, so that

    f(q) = sum over Z in J of q^(r - |Z|) f_Z(q),  f_Z the f-polynomial over the stratum Z.

Reference: Dhillon, Khare, https://arxiv.org/abs/1611.00114.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from rankwise.errors import CapacityError, SymmetryError
from rankwise.symmetry.weyl.cartan import Cartan
from rankwise.symmetry.weyl.faces import Face, FaceSystem
from rankwise.symmetry.weyl.highest_weight import HighestWeight
from rankwise.symmetry.weyl.hull import Label
from rankwise.symmetry.weyl.subsets import mask_of, nodes_of

_MOST_PAIRS = 24


@dataclass(frozen=True)
class UniversalFace:
    """A face of the universal Weyl polyhedron.

    Args:
        zeros: Z, the nodes of J on which lam vanishes, ascending.
        fibre: the face of the hull over such a lam.
        rank: the number of nodes.
    """

    zeros: tuple[int, ...]
    fibre: Face
    rank: int

    @property
    def dimension(self) -> int:
        """|K| + r - |Z|."""
        return self.fibre.dimension + self.rank - len(self.zeros)


@dataclass(frozen=True)
class UniversalWeyl:
    """The cone P_J over all highest weights that are dominant for J.

    Args:
        cartan: the generalized Cartan matrix.
        nodes: J.

    Raises:
        SymmetryError: if J is no set of nodes.

    Example:
        >>> UniversalWeyl(Cartan.of("A3"), [0, 1, 2]).f_vector()
        (1, 14, 60, 100, 69, 17, 1)
    """

    cartan: Cartan
    nodes: Iterable[int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", nodes_of(mask_of(self.nodes, self.cartan.rank, "J")))

    @property
    def lineality(self) -> int:
        """The dimension r - |J| of the largest space inside the cone."""
        return self.cartan.rank - self._mask.bit_count()

    def stratum(self, zeros: Iterable[int]) -> FaceSystem:
        """The faces of the hulls over those lam that vanish on exactly these nodes of J.

        Raises:
            SymmetryError: if one of them is not in J.
        """
        mask = mask_of(zeros, self.cartan.rank, "zeros")
        if mask & ~self._mask:
            raise SymmetryError(f"zeros: {nodes_of(mask & ~self._mask)[0]} is not in J = {self.nodes}.")
        return FaceSystem(self.cartan, ((1 << self.cartan.rank) - 1) & ~mask, self._mask)

    def f_vector(self) -> tuple[int | float, ...]:
        """The number of faces of each dimension 0..2r; math.inf where there is no end.

        Raises:
            CapacityError: if the diagram is too large to count over all strata.
        """
        rank = self.cartan.rank
        if rank + self._mask.bit_count() > _MOST_PAIRS:
            raise CapacityError(
                f"The faces over {2 ** self._mask.bit_count()} strata of {rank} nodes are too many sets to go through; "
                f"at most {_MOST_PAIRS} nodes of the diagram and of J together are allowed."
            )
        counts: list[int | float] = [0] * (2 * rank + 1)
        for zeros in self._strata():
            for dimension, count in enumerate(self.stratum(zeros).f_vector()):
                counts[dimension + rank - len(zeros)] += count
        return tuple(counts)

    def faces(self, max_length: int | None = None) -> Iterator[UniversalFace]:
        """The faces one by one, stratum after stratum.

        Raises:
            SymmetryError: if there are infinitely many and no `max_length` of their words is given.
        """
        if max_length is None and self.cartan.order(self.nodes) == float("inf"):
            raise SymmetryError(f"The reflections of J = {self.nodes} generate an infinite group; give max_length.")
        return (
            UniversalFace(zeros, face, self.cartan.rank)
            for zeros in self._strata()
            for face in self.stratum(zeros).faces(max_length=max_length)
        )

    def face(self, zeros: Iterable[int], nodes: Iterable[int], word: Iterable[int] = ()) -> UniversalFace:
        """The face (Z, w, K); equal faces compare equal however they are named."""
        kept = nodes_of(mask_of(zeros, self.cartan.rank, "zeros"))
        return UniversalFace(kept, self.stratum(kept).face(nodes, word), self.cartan.rank)

    def contains(self, outer: UniversalFace, inner: UniversalFace) -> bool:
        """Whether the first face contains the second.

        As lam moves into the smaller stratum of the second face, the face w' F_K' of the first becomes w' F_K'_min,
        with K'_min taken there.
        """
        if not set(outer.zeros) <= set(inner.zeros):
            return False
        stratum = self.stratum(inner.zeros)
        return stratum.contains(stratum.face(outer.fibre.nodes, outer.fibre.word), inner.fibre)

    def fibre(self, lam: Sequence[Label]) -> HighestWeight:
        """M(lam, J), whose hull is the slice of the cone over lam.

        Raises:
            SymmetryError: if lam is not dominant and integral on J, or does not fit the matrix.
        """
        return HighestWeight(self.cartan, lam, self.nodes, parabolic_verma=True)

    @cached_property
    def _mask(self) -> int:
        return mask_of(self.nodes, self.cartan.rank, "J")

    def _strata(self) -> Iterator[tuple[int, ...]]:
        """The subsets Z of J."""
        zeros = self._mask
        while True:
            yield nodes_of(zeros)
            if not zeros:
                return
            zeros = (zeros - 1) & self._mask

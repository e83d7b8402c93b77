# SPDX-License-Identifier: Apache-2.0
"""Generalized Cartan matrices: what they are checked for, how they decompose, and the orders of their Weyl groups.

A_ij = <alpha_i^vee, alpha_j> with A_ii = 2, A_ij <= 0 and A_ij = 0 exactly where A_ji = 0 (Kac, Infinite dimensional
Lie algebras, section 1.1). The other convention transposes the matrix, which exchanges B and C.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from rankwise.errors import SymmetryError
from rankwise.symmetry.weyl import roots
from rankwise.symmetry.weyl.classification import CartanType, Component, classified
from rankwise.symmetry.weyl.roots import Matrix, Vector
from rankwise.symmetry.weyl.subsets import Subsets, component, mask_of, neighbors, nodes_of


@dataclass(frozen=True)
class Cartan:
    """A generalized Cartan matrix, A_ij = <alpha_i^vee, alpha_j>, of any type.

    Args:
        matrix: rows of integers.

    Raises:
        SymmetryError: if it is no generalized Cartan matrix; the message names the entry.

    Example:
        >>> Cartan.of("E8").order()
        696729600
        >>> " + ".join(str(part.type) for part in Cartan([[2, 0, -1], [0, 2, 0], [-2, 0, 2]]).components)
        'B2 + A1'
    """

    matrix: Sequence[Sequence[int]]
    _orders: dict[int, int | float] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrix", _checked(self.matrix))

    @classmethod
    def of(cls, *types: CartanType | str) -> "Cartan":
        """The matrix of a type, or the direct sum of several: `Cartan.of("A2", "G2")`.

        Raises:
            SymmetryError: if there is no such type, or none is given.
        """
        matrices = [(CartanType.parse(name) if isinstance(name, str) else name).matrix for name in types]
        size, rows, before = sum(map(len, matrices)), [], 0
        for matrix in matrices:
            after = size - before - len(matrix)
            rows += [(*(0,) * before, *row, *(0,) * after) for row in matrix]
            before += len(matrix)
        return cls(rows)

    @property
    def rank(self) -> int:
        """The number of nodes."""
        return len(self.matrix)

    @property
    def rows(self) -> Matrix:
        """The matrix as tuples of Python integers."""
        return self.matrix  # type: ignore[return-value]

    @cached_property
    def components(self) -> tuple[Component, ...]:
        """The connected components with their types, by their lowest node."""
        left, found = (1 << self.rank) - 1, []
        while left:
            mask = component(self.around, left)
            found.append(classified(self.rows, nodes_of(mask)))
            left ^= mask
        return tuple(found)

    @property
    def title(self) -> str:
        """The types of the components, such as "A2 x G2"."""
        return " x ".join(str(part.type) if part.type else f"indefinite({len(part.nodes)})" for part in self.components)

    @property
    def is_finite(self) -> bool:
        """Whether the Weyl group is finite."""
        return all(part.kind == "finite" for part in self.components)

    @property
    def is_hyperbolic(self) -> bool:
        """Whether it is connected and indefinite and every proper connected subdiagram is finite or affine."""
        if [part.kind for part in self.components] != ["indefinite"]:
            return False
        smaller = [[i for i in range(self.rank) if i != left] for left in range(self.rank)]
        parts = [part for nodes in smaller for part in self.subdiagram(nodes).components]
        return all(part.kind != "indefinite" for part in parts)

    @property
    def symmetrizer(self) -> Vector:
        """The least positive integers d with d_i A_ij = d_j A_ji; the squared lengths of simple roots are 2 d_i.

        Raises:
            SymmetryError: if the matrix is not symmetrizable.
        """
        scale = roots.symmetrizer(self.rows)
        if scale is None:
            raise SymmetryError(
                "The matrix is not symmetrizable: around a cycle i, j, k of its diagram A_ij A_jk A_ki differs from "
                "A_ik A_kj A_ji. Faces need no symmetrizer; invariant forms do."
            )
        return scale

    @cached_property
    def around(self) -> tuple[int, ...]:
        """For each node the bit mask of the nodes it is joined to."""
        return neighbors(self.rows)

    @cached_property
    def subsets(self) -> Subsets:
        """Tables over all subsets of the nodes."""
        return Subsets(self.rows)

    def subdiagram(self, nodes: Iterable[int]) -> "Cartan":
        """The matrix of some of the nodes, in the order given.

        Raises:
            SymmetryError: if one is no node, stands twice, or there is none.
        """
        kept = tuple(nodes)
        mask_of(kept, self.rank, "subdiagram")
        return Cartan([[self.rows[i][j] for j in kept] for i in kept])

    def order(self, nodes: Iterable[int] | None = None) -> int | float:
        """The order of the Weyl group, or of the subgroup of these nodes' reflections; math.inf if it is infinite.

        Raises:
            SymmetryError: if one of them is no node or stands twice.
        """
        return self.order_of((1 << self.rank) - 1 if nodes is None else mask_of(nodes, self.rank, "order"))

    def order_of(self, mask: int) -> int | float:
        """`order` of a bit mask of nodes, remembered."""
        known = self._orders.get(mask)
        if known is None:
            known = self._orders[mask] = self._order(mask)
        return known

    def _order(self, mask: int) -> int | float:
        first = component(self.around, mask)
        if first != mask:
            parts = self.order_of(first), self.order_of(mask ^ first)
            return math.inf if math.inf in parts else parts[0] * parts[1]
        part = classified(self.rows, nodes_of(mask)) if mask else None
        if part is None:
            return 1
        return math.prod(part.type.degrees) if part.type and part.kind == "finite" else math.inf

    @property
    def degrees(self) -> Vector:
        """The degrees of the basic invariants of the Weyl group, ascending.

        Raises:
            SymmetryError: if the group is infinite.
        """
        self.ask_finite("The degrees of the invariants")
        return tuple(sorted(degree for part in self.components if part.type for degree in part.type.degrees))

    def positive_roots(self) -> tuple[Vector, ...]:
        """The positive roots by height, each as its coordinates in the simple roots.

        Raises:
            SymmetryError: if there are infinitely many.
        """
        self.ask_finite("A list of all positive roots")
        return roots.positive_roots(self.rows)

    def ask_finite(self, what: str) -> None:
        """Refuse what only finite types have.

        Raises:
            SymmetryError: if the Weyl group is infinite.
        """
        for part in self.components:
            if part.kind != "finite":
                raise SymmetryError(
                    f"{what} needs finite type, but the component on nodes {sorted(part.nodes)} is {part.kind}."
                )


def _checked(matrix: Sequence[Sequence[int]]) -> Matrix:
    try:
        rows = [tuple(row) for row in matrix]
    except TypeError:
        raise SymmetryError(f"A Cartan matrix is a list of rows of integers, got {matrix!r}.") from None
    if not rows:
        raise SymmetryError("A Cartan matrix needs at least one row, got none.")
    for i, row in enumerate(rows):
        if len(row) != len(rows):
            raise SymmetryError(
                f"A Cartan matrix is square: row {i} has {len(row)} entries, there are {len(rows)} rows."
            )
        for j, entry in enumerate(row):
            if isinstance(entry, bool | np.bool_) or not isinstance(entry, int | np.integer):
                raise SymmetryError(f"Entry ({i}, {j}) of the matrix is {entry!r}; a Cartan matrix holds integers.")
            if i == j and entry != 2:
                raise SymmetryError(f"Entry ({i}, {i}) of the matrix is {entry}; the diagonal of a Cartan matrix is 2.")
            if i != j and entry > 0:
                raise SymmetryError(f"Entry ({i}, {j}) of the matrix is {entry}; off the diagonal entries are <= 0.")
            if i != j and entry and not rows[j][i]:
                raise SymmetryError(
                    f"Entry ({i}, {j}) of the matrix is {entry} but entry ({j}, {i}) is 0; both or neither must be 0."
                )
    return tuple(tuple(int(entry) for entry in row) for row in rows)

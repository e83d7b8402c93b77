# SPDX-License-Identifier: Apache-2.0
"""Names of Dynkin diagrams, and the name of a connected diagram that is given.

An indecomposable generalized Cartan matrix is of finite, affine or indefinite type, and the first two kinds are
complete lists (Kac, Infinite dimensional Lie algebras, theorem 4.8). A diagram is therefore named by matching it, node
by node, with the list's matrices of its size; what matches none is indefinite.
"""

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

from rankwise.errors import SymmetryError
from rankwise.symmetry.weyl.diagrams import affine_matrix, finite_matrix
from rankwise.symmetry.weyl.roots import Matrix

_EXCEPTIONAL_DEGREES = {
    ("E", 6): (2, 5, 6, 8, 9, 12),
    ("E", 7): (2, 6, 8, 10, 12, 14, 18),
    ("E", 8): (2, 8, 12, 14, 18, 20, 24, 30),
    ("F", 4): (2, 6, 8, 12),
    ("G", 2): (2, 6),
}
_ALLOWED = (
    "Allowed: A1, A2, ..., B2, ..., C2, ..., D4, ..., E6, E7, E8, F4, G2; A2^(1) or A2~ and so on for affine ones; "
    "twisted: A2^(2), A4^(2), A5^(2), ..., D3^(2), ..., E6^(2), D4^(3)."
)


@dataclass(frozen=True, order=True)
class CartanType:
    """The name of a finite or affine Dynkin diagram.

    Args:
        letter: A to G.
        rank: the index in the name.
        twist: 0 for a finite type; 1, 2 or 3 for the affine type X_rank^(twist) in Kac's notation.

    Raises:
        SymmetryError: if there is no such type.

    Example:
        >>> CartanType.parse("E8").matrix[0]
        (2, 0, -1, 0, 0, 0, 0, 0)
        >>> str(CartanType("D", 4, twist=3)), CartanType("D", 4, twist=3).matrix
        ('D4^(3)', ((2, 0, -1), (0, 2, -1), (-1, -3, 2)))
    """

    letter: str
    rank: int
    twist: int = 0

    def __post_init__(self) -> None:
        if not _exists(self.letter, self.rank, self.twist):
            raise SymmetryError(f"There is no Cartan type {self}. {_ALLOWED}")

    @classmethod
    def parse(cls, text: str) -> "CartanType":
        """The type of that name: "E8", "A2~" or "A2^(1)", "D4^(3)".

        Raises:
            SymmetryError: if the text is no such name.
        """
        parts = re.fullmatch(r"([A-G])(\d{1,3})(~|\^\(?([123])\)?)?", text.strip())
        if parts is None:
            raise SymmetryError(f"There is no Cartan type {text!r}. {_ALLOWED}")
        return cls(parts[1], int(parts[2]), int(parts[4] or 1) if parts[3] else 0)

    def __str__(self) -> str:
        return f"{self.letter}{self.rank}" + (f"^({self.twist})" if self.twist else "")

    @cached_property
    def matrix(self) -> Matrix:
        """The generalized Cartan matrix, A_ij = <alpha_i^vee, alpha_j>."""
        if self.twist:
            return affine_matrix(self.letter, self.rank, self.twist)
        return finite_matrix(self.letter, self.rank)

    @property
    def degrees(self) -> tuple[int, ...]:
        """The degrees of the basic invariants of the finite Weyl group; their product is its order.

        Raises:
            SymmetryError: if the type is affine.
        """
        if self.twist:
            raise SymmetryError(f"The Weyl group of {self} is infinite; only finite types have degrees.")
        if self.letter == "A":
            return tuple(range(2, self.rank + 2))
        if self.letter in "BC":
            return tuple(range(2, 2 * self.rank + 1, 2))
        if self.letter == "D":
            return tuple(sorted([*range(2, 2 * self.rank - 1, 2), self.rank]))
        return _EXCEPTIONAL_DEGREES[self.letter, self.rank]


@dataclass(frozen=True)
class Component:
    """A connected component of a Dynkin diagram.

    Args:
        nodes: its nodes; in the order of the type's own matrix where it has a type.
        type: its name; None for indefinite type.
    """

    nodes: tuple[int, ...]
    type: CartanType | None

    @property
    def kind(self) -> str:
        """What the classification says: finite, affine or indefinite."""
        if self.type is None:
            return "indefinite"
        return "affine" if self.type.twist else "finite"


def classified(matrix: Matrix, nodes: tuple[int, ...]) -> Component:
    """The name of the connected diagram on these nodes of the matrix."""
    found = _named(tuple(tuple(matrix[i][j] for j in nodes) for i in nodes))
    return Component(tuple(nodes[place] for place in found.nodes), found.type)


@lru_cache(maxsize=4096)  # the subdiagrams of a diagram are few up to the names of their nodes
def _named(matrix: Matrix) -> Component:
    nodes = tuple(range(len(matrix)))
    for name in _by_bonds(len(matrix)).get(_bonds(matrix, nodes), ()):
        ordered = _ordering(matrix, nodes, name.matrix, ())
        if ordered is not None:
            return Component(ordered, name)
    return Component(nodes, None)


def types(size: int) -> tuple[CartanType, ...]:
    """Every type with so many nodes, finite ones first and each diagram once."""
    half = size - 1
    names = [(letter, size, 0) for letter in "ABCDEFG"] + [(letter, half, 1) for letter in "ABCDEFG"]
    names += [("A", 2 * half, 2), ("A", 2 * half - 1, 2), ("D", size, 2)]
    names += [("E", 6, 2)] * (size == 5) + [("D", 4, 3)] * (size == 3)
    twice = [("C", 2, 0), ("C", 2, 1)]  # B2 and B2^(1) with the nodes in another order
    return tuple(CartanType(*name) for name in names if _exists(*name) and name not in twice)


def _exists(letter: str, rank: int, twist: int) -> bool:
    least = {"A": 1, "B": 2, "C": 2, "D": 4}
    exceptional = (letter, rank) in _EXCEPTIONAL_DEGREES
    if twist in (0, 1):
        return exceptional or (letter in least and rank >= least[letter])
    if twist == 2:
        even, odd = rank % 2 == 0 and rank >= 2, rank % 2 == 1 and rank >= 5
        return (letter == "A" and (even or odd)) or (letter == "D" and rank >= 3) or (letter, rank) == ("E", 6)
    return (letter, rank, twist) == ("D", 4, 3)


@lru_cache
def _by_bonds(size: int) -> dict[tuple[tuple[int, int], ...], list[CartanType]]:
    """The types of a size by the entries that their bonds have."""
    found: dict[tuple[tuple[int, int], ...], list[CartanType]] = {}
    for name in types(size):
        found.setdefault(_bonds(name.matrix, tuple(range(size))), []).append(name)
    return found


def _bonds(matrix: Matrix, nodes: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    pairs = [(matrix[i][j], matrix[j][i]) for i in nodes for j in nodes if i < j and matrix[i][j]]
    return tuple(sorted((min(pair), max(pair)) for pair in pairs))


def _ordering(matrix: Matrix, nodes: tuple[int, ...], model: Matrix, chosen: tuple[int, ...]) -> tuple[int, ...] | None:
    """The nodes in such an order that they have the model's matrix, by backtracking."""
    place = len(chosen)
    if place == len(model):
        return chosen
    for node in nodes:
        fits = node not in chosen and all(
            matrix[node][other] == model[place][i] and matrix[other][node] == model[i][place]
            for i, other in enumerate(chosen)
        )
        found = _ordering(matrix, nodes, model, (*chosen, node)) if fits else None
        if found is not None:
            return found
    return None

# SPDX-License-Identifier: Apache-2.0
"""How a family checks its parameters and puts its generators into a graph.

Generators that coincide for small parameters are kept once, under the first name. A family whose list of generators
alone would not fit is refused before or while it is written.
"""

from collections.abc import Iterable, Sequence

from rankwise.errors import CapacityError, SymmetryError
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.permutations import Permutation, cycles, from_cycles

MOST_LETTERS = 4_000_000
"""How many letters the generators of one graph may have together: about 100 MB with names and tables."""


def require(allowed: bool, call: str, rule: str) -> None:
    """Refuse parameters that a family does not take.

    Args:
        allowed: whether they are taken.
        call: what was given, as a call such as "stars(n=1)".
        rule: what is allowed, and why.

    Raises:
        SymmetryError: if not allowed.
    """
    if not allowed:
        raise SymmetryError(f"{call}: {rule}")


def require_room(title: str, count: int, size: int) -> None:
    """Refuse more generators than a list should hold.

    Args:
        title: of the graph.
        count: how many generators it has, or has so far.
        size: n, how many letters each has.

    Raises:
        CapacityError: if they have more than MOST_LETTERS letters together.
    """
    if count * size > MOST_LETTERS:
        raise CapacityError(
            f"{title} has more than {MOST_LETTERS // size} generators, too many to hold in a list; take a smaller n, "
            "or a family with fewer generators."
        )


def assembled(title: str, moves: Iterable[tuple[str, Permutation]]) -> PermutationGraph:
    """The graph of generators given as pairs of name and permutation.

    Raises:
        CapacityError: if the generators have more than MOST_LETTERS letters together.
    """
    names: dict[Permutation, str] = {}
    for name, permutation in moves:
        names.setdefault(permutation, name)
        require_room(title, len(names), len(permutation))
    return PermutationGraph(list(names), names=list(names.values()), title=title)


def of_cycles(title: str, size: int, products: Iterable[Sequence[Sequence[int]]]) -> PermutationGraph:
    """The graph whose generators are products of disjoint cycles; each is named by them, as in "(0 1)(2 3)".

    Args:
        title: of the graph.
        size: n, how many letters the generators permute.
        products: for each generator its cycles.
    """
    permutations = (from_cycles(size, product) for product in products)
    return assembled(title, ((cycle_name(permutation), permutation) for permutation in permutations))


def cycle_name(permutation: Permutation) -> str:
    """The permutation written in cycles; the identity is "()"."""
    return "".join(f"({' '.join(map(str, cycle))})" for cycle in cycles(permutation)) or "()"


def reversed_places(size: int, first: int, last: int) -> Permutation:
    """The permutation that reverses places first..last, both included."""
    return (*range(first), *range(last, first - 1, -1), *range(last + 1, size))

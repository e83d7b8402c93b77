# SPDX-License-Identifier: Apache-2.0
"""Growth by a formula, where the generators themselves are recognized as a set whose growth is known.

Transpositions are drawn as edges between places. Each connected piece moves its own places, so the growth is the
product, as polynomials in q, of the growths of the pieces; three kinds of piece on m places have a formula:

- a path, the Coxeter generators of type A: the product of 1 + q + ... + q^(d-1) over the degrees d = 2..m;
- a complete graph, all transpositions: (1 + q)(1 + 2q)...(1 + (m-1)q), the Stirling numbers of the first kind;
- a star: place 0 and each other one. A cycle of k >= 2 letters without the middle costs k + 1 moves and the cycle of
  the middle costs k - 1, so one counts permutations by cycles.

Signed permutations of n things in the form of types B and D (signed_forms.py) have the product over degrees again,
2, 4, ..., 2n and 2, 4, ..., 2n-2, n. Places may be named in any order: the growth does not change under conjugation.
Other trees of transpositions, and circles, have no formula that is known and are refused.

Reference: Bjorner and Brenti, Combinatorics of Coxeter Groups, 2005, chapters 7 and 8.
"""

import sys
import time
from collections.abc import Iterable
from itertools import accumulate
from math import factorial

from rankwise.symmetry.cayley.engines.signed_forms import signed_form
from rankwise.symmetry.cayley.families.registry import Graph
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.permutations import Permutation, cycles
from rankwise.symmetry.cayley.result import Growth, Layer, Limits

Polynomial = list[int]


class ClosedFormEngine:
    """A formula instead of a search: exact, and instant for any n."""

    name = "closed form"

    def refuses(self, graph: Graph) -> str | None:
        """Why no formula is known for the graph, or None."""
        if not isinstance(graph, PermutationGraph):
            return "it knows formulas for permutations, and these states are matrices"
        if not graph.is_group:
            return "it knows formulas for groups, and the start has repeated letters"
        if _recognized(graph.distinct) is None:
            return (
                "it knows formulas for transpositions along paths, stars and complete graphs of places and for the "
                "Coxeter generators of types B and D; these generators are none of them"
            )
        return None

    def memory(self, graph: Graph) -> int:
        """The bytes of the answer itself."""
        assert isinstance(graph, PermutationGraph)
        return _bytes(_formula(graph)[0])

    def grow(self, graph: Graph, limits: Limits) -> Growth:
        """Multiply the formula out, as far as `limits.max_layers`."""
        assert isinstance(graph, PermutationGraph)
        began = time.perf_counter()
        every, said = _formula(graph)
        layers = every if limits.max_layers is None else every[: limits.max_layers + 1]
        seconds = time.perf_counter() - began
        for distance, (size, total) in enumerate(zip(layers, accumulate(layers), strict=True)):
            limits.report(Layer(distance, size, total, seconds))
        return Growth(
            title=graph.title,
            layers=tuple(layers),
            complete=len(layers) == len(every),
            method=f"{self.name}: {said}",
            seconds=seconds,
            memory=_bytes(every),
        )


def _formula(graph: PermutationGraph) -> tuple[Polynomial, str]:
    """The growth and what it is called."""
    pieces = _recognized(graph.distinct)
    assert pieces is not None, "refuses() comes first"
    layers = [1]
    for kind, size in pieces:
        layers = _product(layers, _FORMULAS[kind](size))
    return layers, " x ".join(_said(kind, size) for kind, size in pieces) or "no generators"


def _bytes(layers: Polynomial) -> int:
    return sum(sys.getsizeof(size) + 8 for size in layers)


def _recognized(generators: tuple[Permutation, ...]) -> list[tuple[str, int]] | None:
    """The kinds and sizes of the pieces that the generators fall into, or None if one is not known."""
    signed = signed_form(generators)
    if signed is not None:
        return [signed]
    moved = [cycles(generator) for generator in generators]
    if any(len(found) != 1 or len(found[0]) != 2 for found in moved):
        return None
    kinds = [_kind_of_piece(piece) for piece in _pieces([(first, second) for ((first, second),) in moved])]
    return None if None in kinds else [kind for kind in kinds if kind is not None]


def _pieces(edges: Iterable[tuple[int, int]]) -> list[dict[int, set[int]]]:
    """The connected pieces of a graph, each as the neighbors of its places."""
    neighbors: dict[int, set[int]] = {}
    for first, second in edges:
        neighbors.setdefault(first, set()).add(second)
        neighbors.setdefault(second, set()).add(first)
    pieces, left = [], set(neighbors)
    while left:
        found, border = set(), {min(left)}
        while border:
            found |= border
            border = {other for place in border for other in neighbors[place]} - found
        left -= found
        pieces.append({place: neighbors[place] for place in sorted(found)})
    return pieces


def _kind_of_piece(piece: dict[int, set[int]]) -> tuple[str, int] | None:
    """Path, complete graph or star, and the number of places; None for anything else."""
    size = len(piece)
    degrees = sorted(len(others) for others in piece.values())
    edges = sum(degrees) // 2
    if edges == size - 1 and degrees[-1] <= 2:  # a connected graph with one edge fewer than places is a tree
        return "A", size
    if edges == size * (size - 1) // 2:
        return "all", size
    if edges == size - 1 and degrees[-1] == size - 1:
        return "star", size
    return None


def _type_a(size: int) -> Polynomial:
    return _over_degrees(range(2, size + 1))


def _type_b(things: int) -> Polynomial:
    return _over_degrees(range(2, 2 * things + 1, 2))


def _type_d(things: int) -> Polynomial:
    return _over_degrees([*range(2, 2 * things - 1, 2), things])


def _all_transpositions(size: int) -> Polynomial:
    growth = [1]
    for letter in range(1, size):
        growth = _product(growth, [1, letter])
    return growth


def _star(size: int) -> Polynomial:
    """Sum over the length k of the middle's cycle: choose and arrange its other letters, q^(k-1), and the rest."""
    rest: list[Polynomial] = [[1]]  # of j letters without the middle, by the length k of the first letter's cycle
    for letters in range(1, size):
        ways = [factorial(letters - 1) // factorial(letters - k) for k in range(1, letters + 1)]
        costs = [k + 1 if k > 1 else 0 for k in range(1, letters + 1)]
        rest.append(_weighed(zip(ways, costs, reversed(rest), strict=True)))
    ways = [factorial(size - 1) // factorial(size - k) for k in range(1, size + 1)]
    return _weighed(zip(ways, range(size), reversed(rest), strict=True))


def _weighed(terms: Iterable[tuple[int, int, Polynomial]]) -> Polynomial:
    """The sum of factor q^shift polynomial."""
    total: Polynomial = []
    for factor, shift, polynomial in terms:
        total += [0] * (shift + len(polynomial) - len(total))
        for power, coefficient in enumerate(polynomial):
            total[shift + power] += factor * coefficient
    return total


def _over_degrees(degrees: Iterable[int]) -> Polynomial:
    """The product of 1 + q + ... + q^(d-1): each factor takes sums of d neighboring coefficients."""
    growth = [1]
    for degree in degrees:
        sums = list(accumulate([*growth, *[0] * (degree - 1)]))
        growth = [total - (sums[power - degree] if power >= degree else 0) for power, total in enumerate(sums)]
    return growth


def _product(left: Polynomial, right: Polynomial) -> Polynomial:
    return _weighed((factor, shift, right) for shift, factor in enumerate(left))


def _said(kind: str, size: int) -> str:
    return {
        "A": f"Coxeter type A, degrees 2..{size}",
        "B": f"Coxeter type B, degrees {_evens(2 * size)}",
        "D": f"Coxeter type D, degrees {_evens(2 * size - 2)} and {size}",
        "all": f"all transpositions of {size} places, Stirling numbers of the first kind",
        "star": f"star transpositions of {size} places, counted by cycles",
    }[kind]


def _evens(last: int) -> str:
    return ", ".join(str(even) for even in range(2, last + 1, 2)) if last <= 6 else f"2, 4, ..., {last}"


_FORMULAS = {"A": _type_a, "B": _type_b, "D": _type_d, "all": _all_transpositions, "star": _star}

# SPDX-License-Identifier: Apache-2.0
"""Families of a few generators, products of the transpositions (0 1)(2 3)... and (1 2)(3 4)... in part or whole.

The two full products together turn the places like a circle and generate only a dihedral group of order 2n; what stands
beside them makes the group large, and the diameter too: of few generators these are among the slowest.
"""

from rankwise.symmetry.cayley.families.building import assembled, require
from rankwise.symmetry.cayley.families.registry import family
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.permutations import from_cycles


@family
def rapaport_m1(n: int) -> PermutationGraph:
    """The products (0 1), (0 1)(2 3), ... of the first even pairs and (1 2), (1 2)(3 4), ... of the first odd pairs.

    Order: n!.
    Source: Rapaport-Strasser, Cayley color groups and Hamilton lines, 1959.

    Raises:
        SymmetryError: if n < 3.
    """
    require(n >= 3, f"rapaport_m1(n={n})", "pairs start at places 0 and 1, so n >= 3.")
    moves = []
    for name, pairs in (("I", _pairs(n, 0)), ("K", _pairs(n, 1))):
        moves += [(f"{name}{count}", from_cycles(n, pairs[:count])) for count in range(1, len(pairs) + 1)]
    return assembled(f"Rapaport M1 n={n}", moves)


@family
def rapaport_m2(n: int) -> PermutationGraph:
    """The transposition (0 1), the product (0 1)(2 3)... and the product (1 2)(3 4)...

    Order: n!.
    Source: Rapaport-Strasser, Cayley color groups and Hamilton lines, 1959.

    Raises:
        SymmetryError: if n < 3.
    """
    require(n >= 3, f"rapaport_m2(n={n})", "pairs start at places 0 and 1, so n >= 3.")
    moves = [("X", from_cycles(n, [(0, 1)])), ("I", from_cycles(n, _pairs(n, 0))), ("K", from_cycles(n, _pairs(n, 1)))]
    return assembled(f"Rapaport M2 n={n}", moves)


@family
def koltsov3(n: int, kind: int = 2, k: int = 1, d: int = 1) -> PermutationGraph:
    """The products (0 1)(2 3)... and (1 2)(3 4)..., and (k k+d) (kind 1) or (k k+3)(k+1 k+2) (kind 2).

    Order: n! or a divisor of it, as the parameters have it.
    Source: arXiv 2509.19162.

    Raises:
        SymmetryError: if kind is not 1 or 2, n < 3, a place is outside 0..n-1, or d is given for kind 2.
    """
    call = f"koltsov3(n={n}, kind={kind}, k={k}, d={d})"
    require(kind in (1, 2), call, "kind is 1 for one transposition or 2 for two.")
    require(kind == 1 or d == 1, call, "d is the width of kind 1; kind 2 has the fixed width 3, so leave d out.")
    width = d if kind == 1 else 3
    rule = (
        f"places k and k + {'d' if kind == 1 else 3} are exchanged, so 0 <= k, d >= 1 and k + {width} < n, and n >= 3."
    )
    require(k >= 0 and d >= 1 and k + width < n and n >= 3, call, rule)
    extra = [(k, k + d)] if kind == 1 else [(k, k + 3), (k + 1, k + 2)]
    moves = [("I", from_cycles(n, _pairs(n, 0))), ("K", from_cycles(n, _pairs(n, 1))), ("S", from_cycles(n, extra))]
    return assembled(f"Koltsov3 n={n} kind={kind} k={k}" + (f" d={d}" if kind == 1 else ""), moves)


@family
def sheveleva2(n: int, k: int) -> PermutationGraph:
    """Square with whiskers: two generators share alternately the edges of a path that runs through one 4-cycle.

    The path is (0 1), (1 2), ... to place k-1, then the 4-cycle (k-1 k k+1 k+2) as one of its edges, and from the
    corner opposite to k-1 on (k+1 k+3), (k+3 k+4), ... to the end. The generator without the 4-cycle, A, is an
    involution; the other one, S, is not.

    Order: n! or a divisor of it, as the parameters have it.
    Source: arXiv 2509.19162.

    Raises:
        SymmetryError: if not 1 <= k <= n - 3.
    """
    require(1 <= k <= n - 3, f"sheveleva2(n={n}, k={k})", "the 4-cycle covers places k-1..k+2, so 1 <= k <= n - 3.")
    square = (k - 1, k, k + 1, k + 2)
    before = [(place, place + 1) for place in range(k - 1)]
    after = list(zip([k + 1, *range(k + 3, n)], range(k + 3, n), strict=False))
    edges = [*before, square, *after]
    side = len(before) % 2
    moves = [("A", from_cycles(n, edges[1 - side :: 2])), ("S", from_cycles(n, edges[side::2]))]
    return assembled(f"Sheveleva2 n={n} k={k}", moves)


def _pairs(size: int, first: int) -> list[tuple[int, int]]:
    """The pairs (first first+1), (first+2 first+3), ... that fit into 0..size-1."""
    return [(place, place + 1) for place in range(first, size - 1, 2)]

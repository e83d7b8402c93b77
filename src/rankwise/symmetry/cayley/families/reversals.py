# SPDX-License-Identifier: Apache-2.0
"""Families of reversals: stretches of places turned round, from the pancake problem and from genomes."""

from itertools import combinations

from rankwise.symmetry.cayley.families.building import assembled, require, reversed_places
from rankwise.symmetry.cayley.families.registry import family
from rankwise.symmetry.cayley.graph import PermutationGraph

_CUBIC = {1: (0, 1, -2), 2: (0, 1, -3), 3: (0, 1, 2), 4: (0, 1, 3), 5: (0, 2, -2), 6: (0, 2, -3), 7: (0, 2, 3)}
"""For each kind its three lengths: n minus the number, or the number itself where it stands with a minus sign."""


@family
def pancake(n: int) -> PermutationGraph:
    """Reversals of the first 2, 3, ..., n places: pancakes turned with a spatula, R2 ... Rn.

    Order: n!.
    Diameter: 1, 3, 4, 5, 7, 8, 9, 10, 11, 13, 14, 15, 16 for n = 2..14; between 15n/14 and 18n/11 for large n.
    Source: Gates and Papadimitriou, Bounds for sorting by prefix reversal, 1979; OEIS A058986.

    Raises:
        SymmetryError: if n < 2.
    """
    require(n >= 2, f"pancake(n={n})", "at least two places are reversed, so n >= 2.")
    return assembled(f"pancake n={n}", ((f"R{k}", reversed_places(n, 0, k - 1)) for k in range(2, n + 1)))


@family
def cubic_pancake(n: int, kind: int) -> PermutationGraph:
    """Three prefix reversals. Kinds 1..4: Rn, R(n-1) and R2, R3, R(n-2) or R(n-3); 5..7: Rn, R(n-2), R2, R3 or R(n-3).

    Order: n! for kinds 1, 3 and 7, for kinds 2, 4 and 5 if n is odd, for kind 6 if n is even; else less, as odd and
    even places are kept apart.
    Source: Konstantinova and Gun, The girths of the cubic pancake graphs, 2022; arXiv 2509.19162.

    Raises:
        SymmetryError: if kind is not 1..7, or a prefix would be shorter than two places.
    """
    call = f"cubic_pancake(n={n}, kind={kind})"
    require(kind in _CUBIC, call, "kind is one of 1, 2, ..., 7, the seven triples of prefixes.")
    lengths = [n - number if number >= 0 else -number for number in _CUBIC[kind]]
    least = max(2 + max(_CUBIC[kind]), -min(_CUBIC[kind]))
    require(n >= least, call, f"its prefixes have 2 places at least and n at most, so n >= {least}.")
    moves = [(f"R{length}", reversed_places(n, 0, length - 1)) for length in lengths]
    return assembled(f"cubic pancake n={n} kind={kind}", moves)


@family
def full_reversals(n: int) -> PermutationGraph:
    """Reversals of any stretch of places i..j.

    Order: n!.
    Diameter: n-1.
    Source: Bafna and Pevzner, Genome rearrangements and sorting by reversals, 1996.

    Raises:
        SymmetryError: if n < 2.
    """
    require(n >= 2, f"full_reversals(n={n})", "at least two places are reversed, so n >= 2.")
    stretches = combinations(range(n), 2)
    moves = ((f"R[{first}..{last}]", reversed_places(n, first, last)) for first, last in stretches)
    return assembled(f"full reversals n={n}", moves)

# SPDX-License-Identifier: Apache-2.0
"""Generator families, by name: `families()` lists them."""

from rankwise.symmetry.cayley.families.blocks import block_interchange, transposons
from rankwise.symmetry.cayley.families.conjugacy import (
    conjugacy_classes,
    derangements,
    involutive_derangements,
    rand_generators,
)
from rankwise.symmetry.cayley.families.cycles import (
    all_cycles,
    increasing_k_cycles,
    three_cycles,
    three_cycles_0ij,
    three_cycles_01i,
)
from rankwise.symmetry.cayley.families.matchings import koltsov3, rapaport_m1, rapaport_m2, sheveleva2
from rankwise.symmetry.cayley.families.matrix_groups import (
    heisenberg,
    special_linear_fundamental_roots,
    special_linear_root_weyl,
)
from rankwise.symmetry.cayley.families.registry import families, graph
from rankwise.symmetry.cayley.families.reversals import cubic_pancake, full_reversals, pancake
from rankwise.symmetry.cayley.families.runs import consecutive_k_cycles, down_cycles, prefix_cycles, wrapped_k_cycles
from rankwise.symmetry.cayley.families.shifts import larx, lrx, lsl_cycles, lx, top_spin
from rankwise.symmetry.cayley.families.signed import burnt_pancake, coxeter_b, coxeter_d, signed_reversals
from rankwise.symmetry.cayley.families.transpositions import (
    all_transpositions,
    coxeter,
    cyclic_coxeter,
    generalized_stars,
    stars,
)

__all__ = [
    "all_cycles",
    "all_transpositions",
    "block_interchange",
    "burnt_pancake",
    "conjugacy_classes",
    "consecutive_k_cycles",
    "coxeter",
    "coxeter_b",
    "coxeter_d",
    "cubic_pancake",
    "cyclic_coxeter",
    "derangements",
    "down_cycles",
    "families",
    "full_reversals",
    "generalized_stars",
    "graph",
    "heisenberg",
    "increasing_k_cycles",
    "involutive_derangements",
    "koltsov3",
    "larx",
    "lrx",
    "lsl_cycles",
    "lx",
    "pancake",
    "prefix_cycles",
    "rand_generators",
    "rapaport_m1",
    "rapaport_m2",
    "sheveleva2",
    "signed_reversals",
    "special_linear_fundamental_roots",
    "special_linear_root_weyl",
    "stars",
    "three_cycles",
    "three_cycles_0ij",
    "three_cycles_01i",
    "top_spin",
    "transposons",
    "wrapped_k_cycles",
]

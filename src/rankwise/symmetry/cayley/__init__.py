# SPDX-License-Identifier: Apache-2.0
"""Cayley graphs counted exactly: growth, diameter, paths, and formulas guessed from them.

`families()` lists the generators that have a name, `graph(name, n)` makes their graph, `growth(graph)` counts.
"""

import rankwise.symmetry.cayley.puzzles  # noqa: F401  registers the puzzles
from rankwise.symmetry.cayley.beam import beam_search
from rankwise.symmetry.cayley.explicit import to_networkx, to_sparse
from rankwise.symmetry.cayley.families import families, graph
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.matrices import MatrixGraph
from rankwise.symmetry.cayley.paths import Path, path_from_layers, shortest_path
from rankwise.symmetry.cayley.plot import plot_growth
from rankwise.symmetry.cayley.predictors import Hamming, NeighborScores
from rankwise.symmetry.cayley.quasipolynomial import QuasiPolynomial, fit
from rankwise.symmetry.cayley.result import Growth, Layer, Limits
from rankwise.symmetry.cayley.search import ENGINES, choice, growth
from rankwise.symmetry.cayley.walks import breadth_first_walks, nonbacktracking_walks, random_walks

__all__ = [
    "ENGINES",
    "Growth",
    "Hamming",
    "Layer",
    "Limits",
    "MatrixGraph",
    "NeighborScores",
    "Path",
    "PermutationGraph",
    "QuasiPolynomial",
    "beam_search",
    "breadth_first_walks",
    "choice",
    "families",
    "fit",
    "graph",
    "growth",
    "nonbacktracking_walks",
    "path_from_layers",
    "plot_growth",
    "random_walks",
    "shortest_path",
    "to_networkx",
    "to_sparse",
]

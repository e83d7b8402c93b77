# SPDX-License-Identifier: Apache-2.0
"""Modules to compare by geometry."""

from itertools import combinations, product

from rankwise.symmetry.weyl import Cartan, HighestWeight

# Cases with the other diagrams: affine and hyperbolic ones whose integrable nodes are of finite type.
INFINITE = {
    "A1~": Cartan.of("A1~"),
    "A2^(2)": Cartan.of("A2^(2)"),
    "A2~": Cartan.of("A2~"),
    "C2~": Cartan.of("C2~"),
    "D4^(3)": Cartan.of("D4^(3)"),
    "hyperbolic2": Cartan([[2, -3], [-3, 2]]),
    "hyperbolic3": Cartan([[2, -1, 0], [-1, 2, -2], [0, -2, 2]]),
    "asymmetric": Cartan([[2, -1, -2], [-1, 2, -1], [-1, -1, 2]]),
}


def cases(cartan):
    """Every set of integrable nodes of finite type with every pattern of zeros on it."""
    rank = cartan.rank
    for size in range(rank + 1):
        for nodes in combinations(range(rank), size):
            if cartan.order(nodes) == float("inf"):
                continue
            for zeros in product((0, 1), repeat=size):
                lam = [3] * rank  # at a node that is not integrable any number will do
                for node, label in zip(nodes, zeros, strict=True):
                    lam[node] = label
                yield HighestWeight(cartan, lam, nodes)


def holds(module, inequality, row):
    """The value of an inequality on a homogeneous generator."""
    return sum(n * c for n, c in zip(inequality.normal, row[1:], strict=True)) + row[0] * inequality.constant

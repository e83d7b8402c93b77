# SPDX-License-Identifier: Apache-2.0
"""The growth of a graph by the plainest search there is, with sets of tuples: what every engine is held against."""

from rankwise.symmetry.cayley.families.registry import Graph
from rankwise.symmetry.cayley.graph import PermutationGraph


def growth_by_sets(graph: Graph, max_layers: int | None = None) -> list[int]:
    """How many states lie at each distance from the start, to distance `max_layers` if given."""
    step = _permuted if isinstance(graph, PermutationGraph) else _multiplied
    start = tuple(graph.start) if isinstance(graph, PermutationGraph) else tuple(map(tuple, graph.start))
    seen, last, growth = {start}, {start}, [1]
    while max_layers is None or len(growth) <= max_layers:
        last = {step(graph, generator, state) for state in last for generator in graph.generators} - seen
        if not last:
            break
        seen |= last
        growth.append(len(last))
    return growth


def _permuted(graph, generator, state):
    return tuple(state[place] for place in generator)


def _multiplied(graph, generator, state):
    columns = list(zip(*state, strict=True))
    product = tuple(tuple(sum(a * b for a, b in zip(row, c, strict=True)) for c in columns) for row in generator)
    return product if graph.modulus is None else tuple(tuple(x % graph.modulus for x in row) for row in product)

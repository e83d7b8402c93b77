# SPDX-License-Identifier: Apache-2.0
"""`growth`: choose an engine that fits the graph and the machine, and search."""

from math import factorial

from rankwise.errors import CapacityError, SymmetryError, nearest
from rankwise.symmetry.cayley.engines.bitmap import BitmapEngine
from rankwise.symmetry.cayley.engines.closed import ClosedFormEngine
from rankwise.symmetry.cayley.engines.conjugators import exchanges
from rankwise.symmetry.cayley.engines.disk import DiskEngine
from rankwise.symmetry.cayley.engines.engine import Engine
from rankwise.symmetry.cayley.engines.frontier import FrontierEngine
from rankwise.symmetry.cayley.engines.ranked import RankedEngine
from rankwise.symmetry.cayley.engines.runs import RunsEngine
from rankwise.symmetry.cayley.engines.symmetric import SymmetricEngine
from rankwise.symmetry.cayley.families.registry import Graph
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.result import Growth, Limits

_ENGINES: tuple[Engine, ...] = (
    ClosedFormEngine(),
    SymmetricEngine(),
    DiskEngine(),
    RunsEngine(),
    BitmapEngine(),
    FrontierEngine(),
    RankedEngine(),
)
ENGINES: dict[str, Engine] = {engine.name: engine for engine in _ENGINES}  # unasked, the first that fits is taken
_SPARSE = 16  # a bitmap pays while at least one in so many permutations is in the group
_SYMMETRIC = 1000  # symmetries that only exchange places, from which on orbits are fewer than a bitmap's words


def growth(graph: Graph, engine: str | None = None, limits: Limits | None = None) -> Growth:
    """Count the states at each distance from the graph's start, exactly.

    Args:
        graph: generators and a start.
        engine: a name in `ENGINES`; None takes what `choice` finds to fit the graph, the memory and the disk.
        limits: memory, layers, disk and threads; None takes the defaults of `Limits`.

    Returns:
        The growth; its `method` says how it was found.

    Raises:
        SymmetryError: if there is no such engine, or it cannot take the graph.
        CapacityError: if the search needs more memory than allowed; the message says how much and what could do it.

    Example:
        >>> from rankwise.symmetry import cayley
        >>> cayley.growth(cayley.graph("lrx", 5)).layers
        (1, 3, 6, 10, 16, 24, 29, 21, 6, 3, 1)
    """
    limits = limits or Limits()
    chosen = ENGINES[choice(graph, limits)] if engine is None else _named(engine, graph)
    if not _watches_itself(chosen) and chosen.memory(graph) > limits.memory:
        raise CapacityError(
            f"{graph.title} needs {_gigabytes(chosen.memory(graph))} with the engine {chosen.name!r}, allowed are "
            f"{_gigabytes(limits.memory)}. {_REMEDY}"
        )
    found = chosen.grow(graph, limits)
    if found.complete and not isinstance(chosen, ClosedFormEngine):
        _check_order(graph, found)
    return found


def choice(graph: Graph, limits: Limits) -> str:
    """The name of the engine that `growth` takes for a graph under limits.

    A formula if the generators have one; orbits if the generators' places can be exchanged in many ways; files if a
    folder is given; else bitmaps, sorted frontiers or numbered states, the first whose bound on its memory is allowed.
    With `max_layers` sorted frontiers whatever their bound: they need memory only for the layers that are looked at.

    Raises:
        CapacityError: if every engine could need more memory than allowed; the message has each one's bound.
    """
    bounds = {}
    for engine in _ENGINES:
        if engine.refuses(graph) is None and _pays(engine, graph, limits):
            bounds[engine.name] = engine.memory(graph)
            if bounds[engine.name] <= limits.memory:
                return engine.name
    if limits.max_layers is not None:
        return FrontierEngine.name
    each = ", ".join(f"{name} {_gigabytes(bound)}" for name, bound in bounds.items())
    raise CapacityError(
        f"{graph.title} could need, by engine: {each}; allowed are {_gigabytes(limits.memory)}. {_REMEDY}"
    )


_REMEDY = (
    "Allow more memory, give a folder (disk) for the engines 'disk' and 'runs', or force the engine 'frontier', which "
    "needs memory for its largest layers only and stops with the growth so far where that is not enough."
)


def _named(name: str, graph: Graph) -> Engine:
    if name not in ENGINES:
        raise SymmetryError(f"No engine {name!r}. {nearest(name, ENGINES)}")
    reason = ENGINES[name].refuses(graph)
    if reason:
        raise SymmetryError(f"The engine {name!r} cannot search {graph.title}: {reason}.")
    return ENGINES[name]


def _watches_itself(engine: Engine) -> bool:
    """Whether the bound is far above what is needed as a rule, and the engine stops by itself where it is reached."""
    return isinstance(engine, FrontierEngine)


def _pays(engine: Engine, graph: Graph, limits: Limits) -> bool:
    """Whether an engine that can search a graph is worth choosing unasked."""
    if isinstance(engine, DiskEngine | RunsEngine) and limits.disk is None:
        return False
    if isinstance(graph, PermutationGraph) and isinstance(engine, SymmetricEngine):
        return exchanges(graph.distinct) >= _SYMMETRIC
    if isinstance(graph, PermutationGraph) and isinstance(engine, BitmapEngine | DiskEngine):
        return graph.order * _SPARSE >= factorial(graph.size)
    return True


def _check_order(graph: Graph, found: Growth) -> None:
    """Hold the sum of the layers against the order of the group, which sympy finds in another way.

    Where all permutations were found, or all even ones, there can be no more, and none is counted twice.
    """
    if not isinstance(graph, PermutationGraph) or not graph.is_group:
        return
    if found.total != factorial(graph.size) // (1 + graph.all_even) and found.total != graph.order:
        raise AssertionError(f"{found.method} found {found.total} of the {graph.order} elements of {graph.title}.")


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB"

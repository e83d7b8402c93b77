# SPDX-License-Identifier: Apache-2.0
"""The list of generator families: each is a function from a few integers to a graph, named as in the literature."""

import inspect
from collections.abc import Callable
from typing import ParamSpec

from rankwise.errors import SymmetryError, nearest
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.matrices import MatrixGraph

Graph = PermutationGraph | MatrixGraph
P = ParamSpec("P")
_FAMILIES: dict[str, Callable[..., Graph]] = {}


def family(builder: Callable[P, Graph]) -> Callable[P, Graph]:
    """Put a function into the list under its own name; its docstring gives definition, source and known diameter."""
    _FAMILIES[builder.__name__] = builder
    return builder


def families() -> dict[str, Callable[..., Graph]]:
    """Every generator family by name, in alphabetical order."""
    return dict(sorted(_FAMILIES.items()))


def graph(name: str, *parameters: int) -> Graph:
    """The graph of a family by name.

    Args:
        name: as in `families()`; a hyphen is read as an underscore.
        parameters: what the family's function takes, in its order: most take n.

    Raises:
        SymmetryError: if there is no such family, or the parameters are not what it takes.

    Example:
        >>> graph("lrx", 4).names
        ('L', 'R', 'X')
    """
    builder = _FAMILIES.get(name.replace("-", "_"))
    if builder is None:
        raise SymmetryError(f"No generator family {name!r}. {nearest(name.replace('-', '_'), _FAMILIES)}")
    signature = inspect.signature(builder)
    try:
        signature.bind(*parameters)
    except TypeError as error:
        raise SymmetryError(f"{name} takes {signature}, got {parameters}: {error}.") from None
    return builder(*parameters)

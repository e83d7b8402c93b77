# SPDX-License-Identifier: Apache-2.0
"""How a generator of a graph is named: by its name or by its number."""

from collections.abc import Sequence

import numpy as np

from rankwise.errors import SymmetryError


def checked_names(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """One name for each of `count` generators; None calls them g0, g1, ...

    Raises:
        SymmetryError: if there are more or fewer names than generators.
    """
    chosen = tuple(f"g{index}" for index in range(count)) if names is None else tuple(names)
    if len(chosen) != count:
        raise SymmetryError(f"{len(chosen)} names for {count} generators; give one each or none.")
    return chosen


def number_of(step: str | int, names: Sequence[str]) -> int:
    """The number of a generator given by name or by number.

    Raises:
        SymmetryError: if there is no such generator.
    """
    if isinstance(step, str) and step in names:
        return names.index(step)
    if isinstance(step, int | np.integer) and 0 <= step < len(names):
        return int(step)
    raise SymmetryError(f"No generator {step!r}; there are {', '.join(names)}, or numbers 0..{len(names) - 1}.")

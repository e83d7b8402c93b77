# SPDX-License-Identifier: Apache-2.0
"""Which ego networks share weights.

An ego network of m nodes is a representation of the symmetric group S_m (the "automorphism group" of the paper, which
does not mean automorphisms of the graph). All groups could share weights, since every sum in an equivariant map is a
mean; or each could have its own. Bins say which: ascending upper bounds, of which the last may be infinite. (1, 2, 3,
inf) gives the sizes 1, 2 and 3 weights of their own and all larger sizes one set; (inf,) shares everything.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence

from torch import Tensor

from rankwise.errors import SymmetryError

EACH_SIZE = (1, 2, 3, 4, 5, 6, 7, 8, math.inf)
SHARED = (math.inf,)


def checked_bins(bins: Sequence[float]) -> tuple[float, ...]:
    """The bounds, if they are any.

    Raises:
        SymmetryError: if they are no ascending positive integers, the last possibly infinite.
    """
    bounds = tuple(bins)
    whole = bounds[:-1] if bounds and bounds[-1] == math.inf else bounds
    if not bounds or any(bound != int(bound) or bound < 1 for bound in whole) or sorted(set(bounds)) != list(bounds):
        raise SymmetryError(
            f"bins={bounds} must be the largest ego network of each bin, ascending integers from 1, of which the last "
            "may be math.inf; for example (1, 2, 3, 4, math.inf)."
        )
    return bounds


def bin_of(bins: Sequence[float], size: int) -> int:
    """The number of the bin for ego networks of `size` nodes."""
    return bisect_left(bins, size)


def fitted_bins(sizes: Tensor, least: int) -> tuple[float, ...]:
    """The finest bins of which each has at least so many ego networks; the last has no upper bound.

    A bin that no training graph reaches keeps its random weights. Fit the bins to the training graphs and that cannot
    happen.

    Args:
        sizes: the sizes of the ego networks of all training graphs.
        least: how many of them each bin must have.

    Raises:
        SymmetryError: if there are fewer than `least` in all.
    """
    if len(sizes) < least or least < 1:
        raise SymmetryError(
            f"There are {len(sizes)} ego networks and each bin was to have {least}; ask for at least 1 and at most "
            "as many as there are."
        )
    bounds: list[float] = []
    waiting, left = 0, len(sizes)
    for size, count in enumerate(sizes.bincount().tolist()):
        waiting, left = waiting + count, left - count
        if waiting >= least and left >= least:
            bounds.append(size)
            waiting = 0
    return (*bounds, math.inf)

# SPDX-License-Identifier: Apache-2.0
"""What a subgraph permutation equivariant network is made of: reach, features, bins.

The published network has five layers: pairs to (pairs, nodes), three times (pairs, nodes) to (pairs, nodes), and
(pairs, nodes) to one vector for each ego network; those are the defaults. The widths are ours.
"""

from dataclasses import dataclass

from rankwise.errors import SymmetryError
from rankwise.symmetry.spen.bins import EACH_SIZE


@dataclass(frozen=True)
class Space:
    """The features between two layers.

    Args:
        width: channels of each map that leads there.
        orders: 2 for features of pairs of nodes, 1 for features of nodes, or both.

    Raises:
        SymmetryError: if the orders are not among 1 and 2, each at most once, or the width is not positive.
    """

    width: int
    orders: tuple[int, ...] = (2, 1)

    def __post_init__(self) -> None:
        if self.orders not in ((1,), (2,), (1, 2), (2, 1)):
            raise SymmetryError(f"orders={self.orders}; the features of a layer are of order (2,), (1,) or (2, 1).")
        if self.width < 1:
            raise SymmetryError(f"width={self.width}; a space needs at least one channel.")


@dataclass(frozen=True)
class Design:
    """What a SPEN is made of.

    Args:
        hops: k, the reach of the ego networks.
        spaces: the features between the layers; there is one layer more than spaces.
        width: channels of the maps to order 0.
        bins: the largest ego network of each bin, ascending; the last may be math.inf.
        readout: widths of the linear layers between the mean over ego networks and the classes.
        dropout: between these layers.
    """

    hops: int = 1
    spaces: tuple[Space, ...] = (Space(32), Space(32), Space(32), Space(32))
    width: int = 32
    bins: tuple[float, ...] = EACH_SIZE
    readout: tuple[int, ...] = (256, 128)
    dropout: float = 0.5

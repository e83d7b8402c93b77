# SPDX-License-Identifier: Apache-2.0
"""Where a row stands among those of its task and budget: best, tied with the best, on the Pareto front.

A value ties with the best if it is at most one standard deviation of the best one's seeds away from it. A row is on the
front of a cost if no other row is as cheap and as good, and cheaper or better. Yardsticks compete in neither. What it
does not do: test significance; with three seeds a standard deviation is a rough guide.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rankwise.bench.rows import Row

COSTS = ("parameters", "step_time", "memory", "bytes")
SCORES = ("quality", "retention")


@dataclass(frozen=True)
class Standing:
    """Where one row stands.

    Attributes:
        best: the columns in which no other row is better.
        tied: the scores that are within one standard deviation of the best, but not it.
        front: the costs on whose Pareto front with the quality it is.
    """

    best: frozenset[str] = frozenset()
    tied: frozenset[str] = frozenset()
    front: frozenset[str] = frozenset()


def standings(rows: Sequence[Row], higher_is_better: bool) -> list[Standing]:
    """Compare the rows of one task and one budget.

    Args:
        rows: the rows, yardsticks and rows without a number among them.
        higher_is_better: whether more is better, for quality and retention.

    Returns:
        The standing of each row; that of a yardstick or of a row without a number is empty.
    """
    competing = [index for index, row in enumerate(rows) if row.quality is not None and not row.yardstick]
    sign = 1.0 if higher_is_better else -1.0
    best: dict[str, set[int]] = {}
    tied: dict[str, set[int]] = {}
    for column in (*SCORES, *COSTS):
        goodness = {
            index: (sign if column in SCORES else -1.0) * value
            for index in competing
            if (value := getattr(rows[index], column)) is not None
        }
        top = max(goodness.values(), default=math.nan)
        best[column] = {index for index, value in goodness.items() if value == top}
        if column in SCORES:
            spread = max((getattr(rows[index], column + "_std") or 0.0 for index in best[column]), default=0.0)
            tied[column] = {index for index, value in goodness.items() if top - spread <= value < top}
    fronts = {cost: _front(rows, competing, cost, sign) for cost in COSTS}
    return [
        Standing(_holding(best, index), _holding(tied, index), _holding(fronts, index)) for index in range(len(rows))
    ]


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Find the points that no other one dominates.

    Point i is dominated if some j has x_j <= x_i and y_j >= y_i, one of them strictly. Equal points do not dominate
    each other. Sorted by x, a point stays if it is the highest of its x and higher than all of smaller x.

    Args:
        points: pairs (x, y) of finite numbers; less x and more y are better.

    Returns:
        Their indices, ascending.
    """
    front = []
    height, place = -math.inf, None
    for index in sorted(range(len(points)), key=lambda index: (points[index][0], -points[index][1])):
        x, y = points[index]
        if y > height or (x, y) == place:
            front.append(index)
            height, place = y, (x, y)
    return sorted(front)


def _front(rows: Sequence[Row], competing: Sequence[int], cost: str, sign: float) -> set[int]:
    measured = [index for index in competing if getattr(rows[index], cost) is not None]
    points = [(float(getattr(rows[index], cost)), sign * (rows[index].quality or 0.0)) for index in measured]
    return {measured[place] for place in pareto(points)}


def _holding(members: dict[str, set[int]], index: int) -> frozenset[str]:
    return frozenset(name for name, indices in members.items() if index in indices)

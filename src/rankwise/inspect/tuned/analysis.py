# SPDX-License-Identifier: Apache-2.0
"""Intruder dimensions of a whole model: every changed matrix, a few in memory at a time.

report = compare(of_adaptation(adaptation))
report.total, report.table()
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from rankwise.core.lowrank import Product, folded
from rankwise.inspect.side_by_side import side_by_side
from rankwise.inspect.tracking import tracked
from rankwise.inspect.tuned.changes import Change
from rankwise.inspect.tuned.intruder_search import Cache, Task, find_intruders
from rankwise.inspect.tuned.intruders import Criterion
from rankwise.inspect.tuned.report import TunedMatrix, TunedReport
from rankwise.linalg.singular_values import singular_values, singular_values_of_product
from rankwise.linalg.spectrum import effective_rank
from rankwise.recipes.errors import DataError


def compare(
    changes: Sequence[Change],
    criterion: Criterion | None = None,
    *,
    exact: bool = False,
    cache: Cache | None = None,
    progress: bool = False,
) -> TunedReport:
    """The intruder dimensions of every changed matrix.

    Args:
        changes: what training changed: `of_adaptation`, `of_saved`, `of_peft` or `between`.
        criterion: what counts as an intruder; None takes k = 10, eps = 0.5 and left singular vectors.
        exact: measure every vector against all base vectors. The counts are exact either way, all cosines and the
            counts at other thresholds only so; it takes about twice as long.
        cache: a mapping, empty at first, that keeps what is known of the base for the next checkpoint of the same base
            (one n x n matrix for each weight, n = min(out, in), and as much again). Several threads fill it.
        progress: whether to draw a bar.

    Returns:
        A row for each matrix.

    Raises:
        DataError: if there is no change, or a weight or a change is not finite.
    """
    if not changes:
        raise DataError("there is no changed matrix to look at.")
    asked = criterion or Criterion()
    found = side_by_side(lambda one: _measured(one, Task(one.name, asked, exact, cache)), changes)
    return TunedReport(tuple(tracked(found, "comparing singular vectors", len(changes), progress)), asked)


@torch.no_grad()
def _measured(one: Change, task: Task) -> TunedMatrix:
    change = one.read()
    found = find_intruders(one.base.read(), change, task)
    s = _spectrum(change)
    return TunedMatrix(one.name, one.base.layer, one.base.kind, found, float(effective_rank(s)), float(s[0]))


def _spectrum(change: Product | Tensor) -> Float[Tensor, " r"]:
    return singular_values_of_product(*folded(change)) if isinstance(change, Product) else singular_values(change)

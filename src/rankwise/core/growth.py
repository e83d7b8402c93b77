# SPDX-License-Identifier: Apache-2.0
"""Which weights get more rank, given how important each is and how much is left of a common budget.

    I <- b1 I + (1 - b1) s,     U <- b2 U + (1 - b2) |s - I|  with the new I,     importance = I U

for a score s of each weight: a mean over time, and how far single scores are from it (AdaLoRA, arXiv 2303.10512). Both
start at 0 and are not corrected for that. When to grow, and what growing does to a weight, is the method's business.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from rankwise.core.training import Training


def importance(training: "Training", scores: Float[Tensor, " n"], beta1: float, beta2: float) -> Float[Tensor, " n"]:
    """Take this step's scores into the averages that the schedule keeps, and return I U.

    A score that is not finite (a step whose gradients overflowed) leaves the averages of its weight as they were.
    """
    schedule, zero = training.schedule, torch.zeros_like(scores)
    mean, doubt = schedule.get("score_mean", zero).to(scores), schedule.get("score_doubt", zero).to(scores)
    seen = scores.isfinite()
    mean = torch.where(seen, beta1 * mean + (1 - beta1) * scores, mean)
    doubt = torch.where(seen, beta2 * doubt + (1 - beta2) * (scores - mean).abs(), doubt)
    schedule["score_mean"], schedule["score_doubt"] = mean, doubt
    return mean * doubt


def allocate(
    importance: Float[Tensor, " n"], ranks: Sequence[int], limits: Sequence[int], *, top: int, gain: int, budget: int
) -> list[int]:
    """The ranks after the `top` most important weights grew; those at their limit are passed over.

    Args:
        importance: one number a weight; of equal ones the first come first.
        ranks: ranks before.
        limits: the largest rank of each weight.
        top: how many weights grow.
        gain: what each gains, less where its limit or the budget is nearer.
        budget: what the ranks never add up to more than.

    Returns:
        The new ranks.
    """
    grown, left = list(ranks), budget - sum(ranks)
    for index in importance.argsort(descending=True, stable=True).tolist():
        step = min(gain, limits[index] - ranks[index], left)
        if step > 0 and top > 0:
            grown[index], left, top = ranks[index] + step, left - step, top - 1
    return grown

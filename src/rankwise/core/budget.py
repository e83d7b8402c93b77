# SPDX-License-Identifier: Apache-2.0
"""How a common budget is dealt out among weights, given how important each of them is.

`allocate` lets the most important weights gain ranks, `apportion` gives all weights shares in proportion. One
importance that methods share is I U of

    I <- b1 I + (1 - b1) s,     U <- b2 U + (1 - b2) |s - I|  with the new I

for a score s of each weight: a mean over time, and how far single scores are from it (AdaLoRA, arXiv 2303.10512). Both
start at 0 and are not corrected for that.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from rankwise.core.training import Training


def observe(training: "Training", scores: Float[Tensor, " n"], beta1: float, beta2: float) -> None:
    """Take this step's scores into the averages I and U that the schedule keeps.

    A score that is not finite (a step whose gradients overflowed) leaves the averages of its weight as they were.
    """
    schedule, zero = training.schedule, torch.zeros_like(scores)
    mean, doubt = schedule.get("score_mean", zero).to(scores), schedule.get("score_doubt", zero).to(scores)
    seen = scores.isfinite()
    mean = torch.where(seen, beta1 * mean + (1 - beta1) * scores, mean)
    doubt = torch.where(seen, beta2 * doubt + (1 - beta2) * (scores - mean).abs(), doubt)
    schedule["score_mean"], schedule["score_doubt"] = mean, doubt


def importance(training: "Training") -> Float[Tensor, " n"]:
    """I U of the averages that `observe` keeps."""
    return training.schedule["score_mean"] * training.schedule["score_doubt"]


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


def apportion(budget: int, scores: Sequence[float], limits: Sequence[int]) -> list[int]:
    """Whole numbers in proportion to scores, none above its limit, that add up to the budget; in exact arithmetic.

    Args:
        budget: at most the sum of the limits.
        scores: finite and not negative; where all that are left are zero, the rest is dealt out evenly.
        limits: the most that each can take.

    Returns:
        The shares. What rounding down leaves goes to the largest remainders, the first ones among equals.
    """
    ratios = [float(score).as_integer_ratio() for score in scores]
    finest = max(bottom for _, bottom in ratios)  # all are powers of two
    weights = [top * (finest // bottom) for top, bottom in ratios]
    shares: dict[int, int] = {}
    while True:
        left, others = budget - sum(shares.values()), [i for i in range(len(limits)) if i not in shares]
        if not any(weights[i] for i in others):
            weights = [1] * len(limits)
        total = sum(weights[i] for i in others)
        parts = {i: divmod(left * weights[i], total) for i in others}
        full = {i: limits[i] for i, (share, _) in parts.items() if share >= limits[i]}
        if not full:
            break
        shares |= full
    shares |= {i: share for i, (share, _) in parts.items()}
    for i in sorted(parts, key=lambda i: -parts[i][1])[: budget - sum(shares.values())]:
        shares[i] += 1
    return [shares[i] for i in range(len(limits))]

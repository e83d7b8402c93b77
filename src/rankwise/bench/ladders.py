# SPDX-License-Identifier: Apache-2.0
"""Equal terms: the largest setting of each method that trains no more parameters than a budget allows.

Sizes are tried from the smallest in growing strides until one is too large or refused, then the gap is halved. They
are counted on adapters that are built beside the model and dropped; a setting that costs decompositions is counted on
another method of its size. The chosen one is put on a model once, so that what is refused is not reported as fitted;
where that takes a decomposition of every weight, on one weight of each size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rankwise.adapters.lora import LoRA
from rankwise.bench.counts import Ladder, Terms, trained
from rankwise.bench.runs import CALIBRATION
from rankwise.bench.settings import LADDERS
from rankwise.bench.task import Bench, BenchError
from rankwise.core.adapt import adapt
from rankwise.core.method import Method, method_class
from rankwise.core.place import assemble
from rankwise.core.select import find_targets
from rankwise.core.targets import ConvTarget, LinearTarget, Target
from rankwise.errors import MethodError, TargetError, nearest


class Unfit(BenchError):
    """A method has no setting that fits; the message is the reason in one sentence."""


@dataclass(frozen=True)
class Fitted:
    """A method with the settings that fill a budget.

    Attributes:
        method: the settings.
        parameters: the most parameters that they can train in the end; see `rankwise.bench.counts`.
    """

    method: Method
    parameters: int


def budget_of(bench: Bench, rank: int) -> int:
    """How many parameters a LoRA of this rank trains on the weights that a task adapts."""
    method = LoRA(rank=rank)
    targets = _targets(bench)
    return trained(method, assemble(method, targets, ranks={}, dtype=None, seed=0))


def fit(name: str, bench: Bench, steps: int, budget: int) -> Fitted:
    """Find the largest setting of a method that fits a budget.

    Args:
        name: the method's registered name.
        bench: the task.
        steps: optimizer steps of a run, for methods with a schedule.
        budget: the most parameters that may train.

    Raises:
        MethodError: if there is no such method.
        BenchError: if the method has no ladder.
        Unfit: if not even its smallest setting fits, or the task does not have what it needs.
    """
    ladder = _ladder(name)
    terms = Terms(_targets(bench), steps, bench.domains if "task" in bench.values else 1)
    _require_what_it_reads(method_class(name), bench)
    _require_layers(ladder, terms.targets)
    sizes = ladder.sizes(terms)
    best = _last(sizes, lambda size: _count(ladder, size, terms) <= budget)
    if best is None:
        raise _nothing_fits(ladder, sizes[0], terms, budget)
    method = ladder.setting(best, terms)
    _try(bench, method, _trial(terms.targets) if ladder.decomposes else bench.targets)
    return Fitted(method, _counted(ladder, best, terms))


def _ladder(name: str) -> Ladder:
    kind = method_class(name)
    if name not in LADDERS:
        raise BenchError(
            f"{kind.__name__} has no ladder of settings, so no budget can be given to it; add one to LADDERS in "
            f"rankwise.bench.settings. {nearest(name, LADDERS)}"
        )
    return LADDERS[name]


def _targets(bench: Bench) -> list[Target]:
    """The weights of a model of its own, as if a checkpoint were read: their values decide no count."""
    targets = find_targets(bench.base(0), bench.targets)
    for target in targets:
        target.restoring = True
    return targets


def _count(ladder: Ladder, size: int, terms: Terms) -> float:
    """The parameters of a size; infinite if it is refused."""
    try:
        return _counted(ladder, size, terms)
    except (MethodError, TargetError):
        return float("inf")


def _counted(ladder: Ladder, size: int, terms: Terms) -> int:
    method = ladder.setting(size, terms)
    return ladder.counted(method, assemble(ladder.twin(method), terms.targets, ranks={}, dtype=None, seed=0))


def _last(sizes: Sequence[int], fits: Callable[[int], bool]) -> int | None:
    """A size that fits while the next one does not; None if the first one does not."""
    low, high = -1, 0
    while high < len(sizes) and fits(sizes[high]):
        low, high = high, 2 * high + 1
    high = min(high, len(sizes))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(sizes[middle]) else (low, middle)
    return None if low < 0 else sizes[low]


def _trial(targets: list[Target]) -> list[str]:
    """The first weight of each size."""
    return list({target.shape: target.name for target in reversed(targets)}.values())


def _try(bench: Bench, method: Method, targets: str | Sequence[str]) -> None:
    data = list(bench.calibration(CALIBRATION, seed=0)) if method.calibrated else None
    try:
        adapt(bench.base(0), method, targets, calibration=data)
    except (MethodError, TargetError) as error:
        raise Unfit(f"its setting for this budget, {method}, is refused: {error}") from error


def _require_what_it_reads(kind: type[Method], bench: Bench) -> None:
    if "quality" in kind.inputs and "quality" not in bench.values:
        raise Unfit("it needs an image quality for each example, which this task does not have")


def _require_layers(ladder: Ladder, targets: list[Target]) -> None:
    if ladder.layers == "any":
        return
    wanted, what = (ConvTarget, "convolutions") if ladder.layers == "convolutions" else (LinearTarget, "linear layers")
    fitting = sum(isinstance(target, wanted) for target in targets)
    if not fitting:
        raise Unfit(f"it adapts {what}, and this task has none")
    if fitting < len(targets):
        others = len(targets) - fitting
        raise Unfit(f"it adapts {what} alone, and {others} of the {len(targets)} weights of this task are none")


def _nothing_fits(ladder: Ladder, size: int, terms: Terms, budget: int) -> Unfit:
    try:
        count = _counted(ladder, size, terms)
    except (MethodError, TargetError) as error:
        return Unfit(f"its smallest setting is refused: {error}")
    return Unfit(f"its smallest setting trains {count:,} parameters, the budget is {budget:,}")

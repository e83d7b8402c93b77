"""Row 17: faults planted in rankwise, one at a time. Each must turn at least one test red.

A pytest plugin: `RANKWISE_FAULT=name pytest -p reliability.faults ...` runs the tests with that fault in the library.
"""

import os
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch


def _scale_doubled() -> None:
    from rankwise.core.adapter import Factored  # noqa: PLC0415 - after the type-checking import hook is in place

    add = Factored.add
    Factored.add = lambda self, x, base, scale=1.0, inplace=False: add(self, x, base, 2 * scale, inplace=inplace)


def _key_dropped() -> None:
    from rankwise.core import checkpoint  # noqa: PLC0415

    tensors = checkpoint._tensors
    checkpoint._tensors = lambda record: dict(list(tensors(record).items())[1:])


def _seed_ignored() -> None:
    from rankwise.core.targets.base import Target  # noqa: PLC0415

    Target.generator = lambda self: torch.Generator().manual_seed(0)


def _groups_forgotten() -> None:
    from rankwise.core.targets.conv import ConvTransposeTarget  # noqa: PLC0415

    ConvTransposeTarget.to_storage = lambda self, kernel: kernel.transpose(0, 1).reshape(
        kernel.shape[1] * self.groups, kernel.shape[0] // self.groups, *kernel.shape[2:]
    )


def _one_process_decides() -> None:
    from rankwise.core.training import Training  # noqa: PLC0415

    Training.mean = lambda self, scores: scores


def _merged_in_half_precision() -> None:
    from rankwise.core import merge  # noqa: PLC0415

    exact = merge.exact_delta
    merge.exact_delta = lambda adapter: (exact(adapter)[0].to(torch.bfloat16).double(), exact(adapter)[1])


def _unmerged_by_subtraction() -> None:
    from rankwise.core import merge  # noqa: PLC0415

    write = merge._write

    def subtract(one: merge._Merged) -> None:
        target = one.slot.target
        if one.weight is None and target.original is not None:
            delta = target.parameter().detach() - target.original
            target.original = target.parameter().detach() + (delta - delta * (1 + 1e-7)) - delta
        write(one)

    merge._write = subtract


def _disabled_stays_on() -> None:
    from rankwise.core.adaptation import Adaptation  # noqa: PLC0415

    Adaptation.disabled = lambda self: nullcontext()


def _mixed_batch_ignored() -> None:
    from rankwise.core.slot import Slot  # noqa: PLC0415

    Slot._mixed = lambda self, x, base, context: self._summed(x, base, self.runtime.plan(list(self), None))


def _penalty_twice() -> None:
    from rankwise.core import training  # noqa: PLC0415

    accumulate = training._accumulate
    training._accumulate = lambda value, named: accumulate(2 * value, named)


def _nan_unchecked() -> None:
    from rankwise.core import merge  # noqa: PLC0415

    merge.torch = _Blind(torch)


def _any_base_accepted() -> None:
    from rankwise.core import load  # noqa: PLC0415

    load.differs = lambda saved, present: None


def _schedule_not_restored() -> None:
    from rankwise.core import checkpoint, load  # noqa: PLC0415

    fill = checkpoint.fill

    def forgetful(saved: checkpoint.Saved, installed: object, adapters: dict) -> None:
        fill(saved, installed, adapters)
        installed.schedule = {}

    load.fill = forgetful


def _gradient_halved() -> None:
    from rankwise.core import lowrank  # noqa: PLC0415

    backward = lowrank._AddLowRank.backward

    def wrong(ctx: object, grad: torch.Tensor) -> tuple:
        base, x, left, right = backward(ctx, grad)
        return base, x, left, None if right is None else right / 2

    lowrank._AddLowRank.backward = staticmethod(wrong)


class _Blind:
    """torch, but everything is finite."""

    def __init__(self, real: object) -> None:
        self.real = real

    def __getattr__(self, name: str) -> object:
        return torch.ones_like if name == "isfinite" else getattr(self.real, name)


FAULTS: dict[str, tuple[Callable[[], None], str]] = {
    "scale doubled": (_scale_doubled, "tests/core/test_adaptation.py"),
    "key dropped from a save": (_key_dropped, "tests/contract/test_keeping.py"),
    "seed ignored": (_seed_ignored, "tests/core/test_adaptation.py"),
    "groups of a transposed convolution forgotten": (_groups_forgotten, "tests/contract/test_function.py"),
    "one process decides alone": (_one_process_decides, "tests/core/test_two_growing.py"),
    "merged in half precision": (_merged_in_half_precision, "tests/reliability/test_merging.py"),
    "unmerged by subtraction": (_unmerged_by_subtraction, "tests/reliability/test_merging.py"),
    "disabled adapter stays on": (_disabled_stays_on, "tests/reliability/test_merging.py"),
    "mixed batch ignored": (_mixed_batch_ignored, "tests/core/test_adaptation.py"),
    "penalty added twice": (_penalty_twice, "tests/core/test_training.py"),
    "NaN unchecked in a merge": (_nan_unchecked, "tests/core/test_adaptation.py"),
    "any base accepted": (_any_base_accepted, "tests/reliability/test_malformed.py"),
    "schedule not restored": (_schedule_not_restored, "tests/contract/test_keeping.py"),
    "gradient halved": (_gradient_halved, "tests/core/test_lowrank.py"),
}


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Plant the fault before any test runs."""
    plant()


def plant() -> None:
    """Plant the fault that the environment names, in this process."""
    name = os.environ.get("RANKWISE_FAULT")
    if name:
        FAULTS[name][0]()

# SPDX-License-Identifier: Apache-2.0
"""The two comparisons that come with the library: one for two CPU cores in about an hour, and one for a GPU."""

from rankwise.bench.task import Task
from rankwise.bench.tasks.fashion import FashionHalves
from rankwise.bench.tasks.language import Language
from rankwise.bench.tasks.rotations import Rotations
from rankwise.bench.tasks.segmentation import Segmentation
from rankwise.bench.vit import VisionTransformerTask

_RATES = (1e-4, 5e-4, 2e-3, 8e-3)
_BUDGETS = {"small": 4, "medium": 16, "large": 64}


def _large(task: type[VisionTransformerTask], pretraining: int) -> VisionTransformerTask:
    """A transformer of 256 features and 6 blocks, and more of all data."""
    return task(
        rates=_RATES,
        budgets=_BUDGETS,
        steps=600,
        batch_size=64,
        pretraining=pretraining,
        adapted=5000,
        validated=2000,
        tested=5000,
        pretraining_steps=4000,
        pretraining_rate=5e-4,
        width=256,
        depth=6,
        heads=8,
        patch=4,
    )


SIZES: dict[str, list[Task]] = {
    "cpu": [FashionHalves(), Rotations(), Segmentation(), Language(budgets={"small": 4})],
    "full": [
        _large(FashionHalves, 25000),
        _large(Rotations, 45000),
        Segmentation(
            rates=_RATES,
            budgets=_BUDGETS,
            steps=400,
            batch_size=32,
            adapted=512,
            validated=256,
            tested=1000,
            pretraining_steps=2000,
            pretraining_rate=1e-3,
            width=64,
            side=64,
        ),
        Language(
            rates=_RATES,
            budgets={"small": 4, "medium": 16},
            steps=400,
            corpus="gsm8k",
            frozen_layers=0,
            dtype="bfloat16",
            batch_size=16,
            max_length=384,
            train=6400,
            held_out=512,
            pieces=64,
            piece_length=256,
        ),
    ],
}

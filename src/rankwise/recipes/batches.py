# SPDX-License-Identifier: Apache-2.0
"""Which example is seen when, decided before the run from the lengths and a seed.

Each pass over the data is shuffled, cut into pools of some batches, sorted by length inside a pool, cut into batches
and shuffled again: batches of like lengths need little padding, and the order stays random. The whole order is one
list, so a run that resumes in the middle sees what the uninterrupted one would have seen.
"""

import random
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from rankwise.recipes.encode import IGNORED, Encoded

_POOL = 16  # batches that are sorted by length together


def order(lengths: Sequence[int], batch: int, count: int, seed: int) -> list[int]:
    """Indices of `count` examples in the order of training.

    Args:
        lengths: the length of each example.
        batch: examples that are padded to the same length.
        count: how many indices; the data is gone through again and again until there are enough.
        seed: decides the order.
    """
    source, result = random.Random(seed), list[int]()
    while len(result) < count:
        result += _one_pass(lengths, batch, source, -len(result) % batch)
    return result[:count]


def _one_pass(lengths: Sequence[int], batch: int, source: random.Random, fill: int) -> list[int]:
    """All indices once, the first `fill` of them to complete the last batch of the pass before."""
    indices = list(range(len(lengths)))
    source.shuffle(indices)
    batches: list[list[int]] = []
    for start in range(fill, len(indices), batch * _POOL):
        pool = sorted(indices[start : start + batch * _POOL], key=lambda index: lengths[index])
        batches += [pool[i : i + batch] for i in range(0, len(pool), batch)]
    short = [one for one in batches if len(one) < batch]
    full = [one for one in batches if len(one) == batch]
    source.shuffle(full)
    return indices[:fill] + [index for one in full + short for index in one]


class Ordered(Dataset):
    """Sequences in a given order, for a sequential sampler."""

    def __init__(self, items: Sequence[Encoded], indices: Sequence[int]) -> None:
        self.items, self.indices = items, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> Encoded:
        return self.items[self.indices[position]]


class Collator:
    """Pads sequences to the longest of the batch, on the right."""

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, items: Sequence[Encoded]) -> dict[str, Tensor]:
        """The batch as a language model takes it."""
        longest = max(len(item.input_ids) for item in items)
        padding = [longest - len(item.input_ids) for item in items]
        rows = list(zip(items, padding, strict=True))
        return {
            "input_ids": torch.tensor([item.input_ids + [self.pad] * short for item, short in rows]),
            "attention_mask": torch.tensor([[1] * len(item.input_ids) + [0] * short for item, short in rows]),
            "labels": torch.tensor([item.labels + [IGNORED] * short for item, short in rows]),
        }

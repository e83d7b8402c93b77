# SPDX-License-Identifier: Apache-2.0
"""When directions count as settled, and when a look is taken."""

import torch
from torch import Tensor

from random_layers import draw
from rankwise.linalg.settling import Directions, GramDirections, IncrementalDirections

SCALE = torch.tensor([4.0, 2.0, 1.0, 0.5]).double()


def batch(seed: int, turned: bool = False) -> Tensor:
    """Rows along the axes, the first two swapped if `turned`."""
    x = draw(30, 4, seed=seed) * SCALE
    return x[:, [1, 0, 2, 3]] if turned else x


def test_looks_are_taken_after_every_batch_or_at_doublings_from_the_eighth() -> None:
    incremental, gram = IncrementalDirections(2, center=True, generator=None), GramDirections(2, center=True)
    looks: dict[Directions, list[int]] = {incremental: [], gram: []}
    for count in range(1, 34):
        for one, seen in looks.items():
            before = one.now
            one.update(batch(count))
            if one.now is not before:
                seen.append(count)
    assert looks == {incremental: list(range(1, 34)), gram: [8, 16, 32]}
    assert gram.now is not None and gram.now.rows == 32 * 30
    assert gram.finish() and gram.now.rows == 33 * 30
    last = gram.now
    assert gram.finish() and gram.now is last


def test_each_direction_is_asked_or_the_space_they_span() -> None:
    for one in (IncrementalDirections(3, center=True, generator=None), GramDirections(3, center=True)):
        for seed in range(8):
            one.update(batch(seed))
        assert one.before is None or isinstance(one, IncrementalDirections)
        for seed in range(200, 240):
            one.update(batch(seed, turned=True))
        assert one.now is not None and one.finish()
        gram = GramDirections(3, center=True)
        gram.update(batch(0))
        assert gram.finish() and not gram.settled(1, 0.5)  # one look says nothing
        one.before = gram.now  # the axes before they were swapped
        assert not one.settled(1, 0.5)
        assert one.settled(2, 0.95) == isinstance(one, GramDirections)
        assert one.settled(0, 0.99)


def test_small_batches_are_skipped_or_added_up() -> None:
    incremental, gram = IncrementalDirections(3, center=True, generator=None), GramDirections(3, center=True)
    for one in (incremental, gram):
        one.update(batch(0)[:2])
        assert not one.finish()
        one.update(batch(1)[:2])
    assert not incremental.finish() and gram.finish()
    assert gram.pca.rows == 4

# SPDX-License-Identifier: Apache-2.0
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from rankwise.recipes.batches import Collator, Ordered, order
from rankwise.recipes.encode import IGNORED, Encoded

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=200)


@given(LENGTHS, st.integers(1, 9), st.integers(1, 3), st.integers(0, 5))
def test_every_pass_sees_each_example_once(lengths, batch, passes, seed):
    assert Counter(order(lengths, batch, passes * len(lengths), seed)) == Counter(
        {index: passes for index in range(len(lengths))}
    )


@given(LENGTHS, st.integers(1, 9), st.integers(1, 400), st.integers(0, 5))
def test_a_shorter_run_is_the_beginning_of_a_longer_one(lengths, batch, count, seed):
    assert order(lengths, batch, count + 7, seed)[:count] == order(lengths, batch, count, seed)


@given(LENGTHS, st.integers(1, 9))
def test_later_passes_keep_their_batches_whole(lengths, batch):
    lengths = list(range(len(lengths)))
    second = order(lengths, batch, 2 * len(lengths), 0)[len(lengths) :]
    fill = -len(lengths) % batch
    full = [second[start : start + batch] for start in range(fill, len(second) - batch + 1, batch)]
    assert all(one == sorted(one) for one in full)


def test_batches_hold_like_lengths_in_an_order_that_the_seed_decides():
    lengths = [1 + 37 * i % 101 for i in range(160)]

    def padding(indices):
        parts = [[lengths[i] for i in indices[start : start + 8]] for start in range(0, 160, 8)]
        return sum(max(part) * len(part) - sum(part) for part in parts)

    assert padding(order(lengths, 8, 160, 0)) < padding(range(160)) / 4
    assert order(lengths, 8, 160, 0) != order(lengths, 8, 160, 1)


def test_padding_is_masked_and_never_learned():
    items = [Encoded([5, 6, 7], [IGNORED, 6, 7]), Encoded([8], [8])]
    batch = Collator(pad=9)([Ordered(items, [1, 0])[1], Ordered(items, [1, 0])[0]])
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[IGNORED, 6, 7], [8, IGNORED, IGNORED]]

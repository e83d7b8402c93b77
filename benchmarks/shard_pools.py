# SPDX-License-Identifier: Apache-2.0
"""What shared pools of shards are worth at equal size: upright digits to digits turned by a quarter.

    python benchmarks/shard_pools.py [--seeds 6]

A residual network 64-96-(4 x 96-96)-10 learns 1300 of scikit-learn's 8 x 8 digits upright (600 steps of Adam, batch
64). Then its four hidden layers are adapted to the same digits turned (300 steps of AdamW); accuracy is on the other
497. alpha is 8 r throughout, so that every delta has the scale 8. Each method takes the best of three learning rates by
that accuracy, the same for all seeds.
"""

import torch
from turned_digits import Score, fit, hits, main, upright_base

from rankwise import LoRA, Method, adapt
from rankwise.adapters.mos import MoS

LABELS, STEPS = 1300, 300
RATES = (5e-3, 1e-2, 2e-2)
METHODS: dict[str, Method] = {
    "LoRA(rank=2)": LoRA(rank=2, alpha=16),
    "MoS(rank=4)": MoS(rank=4, alpha=32),
    "MoS(rank=4, pair_dissociation=False)": MoS(rank=4, pair_dissociation=False, alpha=32),
    "MoS(rank=4, private_rank=0)": MoS(rank=4, private_rank=0, alpha=32),
    "MoS(rank=4, shards=1)": MoS(rank=4, shards=1, alpha=32),
    "pure sharing": MoS(rank=None, private_rank=0, shards=1, pair_dissociation=False, alpha=64),
    "LoRA(rank=4)": LoRA(rank=4, alpha=32),
}


def transferred(method: Method, rate: float, seed: int) -> Score:
    """Accuracy on turned digits."""
    generator = torch.Generator().manual_seed(seed)
    model, digits = upright_base(seed, LABELS, generator)
    adaptation = adapt(model, method, r"blocks\..*", seed=seed)
    optimizer = torch.optim.AdamW(adaptation.parameters(), lr=rate)
    adaptation.attach(optimizer)
    fit(model, optimizer, (digits.turned[:LABELS], digits.labels[:LABELS]), STEPS, generator)
    accuracy = float(hits(model, digits.turned[LABELS:], digits.labels[LABELS:]).mean())
    return Score(accuracy, accuracy, adaptation.summary().trainable)


if __name__ == "__main__":
    main(METHODS, RATES, transferred, seeds=6)

# SPDX-License-Identifier: Apache-2.0
"""What few parameters can learn: upright digits to digits turned by a quarter, from 300 labels.

    python benchmarks/digits_transfer.py [--seeds 3]

A network 64-128-128-128-10 learns scikit-learn's 8 x 8 digits upright (600 steps of Adam, batch 64). Then its three
hidden layers are adapted and its head is trained on 300 turned digits (400 steps); accuracy is on the other 1497 turned
ones. Each method takes the best of three learning rates by that accuracy, the same for all seeds.
"""

import torch
from torch import nn
from turned_digits import BASE_STEPS, Score, fit, hits, main, shuffled

from rankwise import LoRA, Method, adapt
from rankwise.adapters.loldu import LoLDU
from rankwise.adapters.svfit import SVFit
from rankwise.adapters.tlora import TLoRA

LABELS, STEPS = 300, 400
RATES = (1e-3, 5e-3, 2e-2)
METHODS: dict[str, Method | None] = {
    "head alone": None,
    "SVFit(rank=16)": SVFit(rank=16),
    "SVFit()": SVFit(),
    "SVFit(relative=True)": SVFit(relative=True),
    "LoLDU(rank=16)": LoLDU(rank=16),
    "LoLDU()": LoLDU(),
    'LoLDU(init="lu")': LoLDU(init="lu"),
    'LoLDU(init="constant")': LoLDU(init="constant"),
    "LoLDU(train_sigma=False)": LoLDU(train_sigma=False),
    "TLoRA()": TLoRA(),
    'TLoRA(rank=3, residual="ring")': TLoRA(rank=3, residual="ring"),
    "LoRA(rank=1)": LoRA(rank=1, alpha=1),
    "LoRA(rank=2)": LoRA(rank=2, alpha=2),
    "LoRA(rank=4)": LoRA(rank=4, alpha=4),
}


def transferred(method: Method | None, rate: float, seed: int) -> Score:
    """Accuracy on turned digits; parameters beside the head."""
    generator = torch.Generator().manual_seed(seed)
    digits = shuffled(generator)
    torch.manual_seed(seed)
    layers = [nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(128, 10))
    fit(model, torch.optim.Adam(model.parameters(), lr=1e-3), (digits.upright, digits.labels), BASE_STEPS, generator)
    head = list(model[-1].parameters())
    added = [] if method is None else list(adapt(model, method, ["0", "2", "4"]).parameters())
    model.requires_grad_(False)
    for parameter in (*head, *added):
        parameter.requires_grad_()
    optimizer = torch.optim.Adam([*head, *added], lr=rate)
    fit(model, optimizer, (digits.turned[:LABELS], digits.labels[:LABELS]), STEPS, generator)
    accuracy = float(hits(model, digits.turned[LABELS:], digits.labels[LABELS:]).mean())
    return Score(accuracy, accuracy, sum(parameter.numel() for parameter in added))


if __name__ == "__main__":
    main(METHODS, RATES, transferred, seeds=3)

# SPDX-License-Identifier: Apache-2.0
"""How fast block-shared updates start, and what their fixed sums of inputs cost: digits turned by a quarter.

    python benchmarks/block_shared.py [--seeds 2]

A residual network 64-96-(4 x 96-96)-10 learns 1300 of scikit-learn's 8 x 8 digits upright (600 steps of Adam, batch
64). Then its four hidden layers are adapted to the same digits turned, everything else frozen. Measured are the norm of
the first gradient over all 1300, their loss after 150 steps of AdamW at small learning rates, and the accuracy on the
other 497 after 300 steps at the best of three learning rates by that accuracy, the same for all seeds.
"""

import argparse
import statistics

import torch
from report import environment, table
from torch.nn import functional as F
from turned_digits import Residual, fit, hits, upright_base

from rankwise import Adaptation, LoRA, Method, adapt
from rankwise.adapters.bat import Bat
from rankwise.adapters.bone import Bone

LABELS = 1300
SMALL, RATES = (1e-4, 1e-3), (1e-3, 5e-3, 2e-2)
METHODS: dict[str, Method] = {
    "LoRA(rank=2)": LoRA(rank=2, alpha=2),
    "Bone(rank=4)": Bone(rank=4),
    "Bat(rank=4)": Bat(rank=4),
    "LoRA(rank=12)": LoRA(rank=12, alpha=12),
    "Bone(rank=24)": Bone(rank=24),
    "Bat(rank=24)": Bat(rank=24),
}


def main() -> None:
    """Train everything and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=2)
    trials = [Trial(seed) for seed in range(parser.parse_args().seeds)]
    torch.set_num_threads(1)
    rows = []
    for name, method in METHODS.items():
        mean = [statistics.mean(trial.first_gradient(method) for trial in trials)]
        mean += [statistics.mean(trial.trained(method, rate, 150)[0] for trial in trials) for rate in SMALL]
        scores = {rate: statistics.mean(trial.trained(method, rate, 300)[1] for trial in trials) for rate in RATES}
        best = max(scores, key=lambda rate: scores[rate])
        size = trials[0].adapted(method).summary().trainable
        rows.append([name, str(size), f"{mean[0]:.1f}", *(f"{x:.2f}" for x in mean[1:]), f"{scores[best]:.3f}"])
        rows[-1].append(f"{best:g}")
        print(rows[-1], flush=True)
    losses = [f"loss at {rate:g}" for rate in SMALL]
    print(table(["method", "parameters", "first gradient", *losses, "best accuracy", "learning rate"], rows))
    print(environment(threads=1))


class Trial:
    """A trained base and the turned digits, for one seed."""

    def __init__(self, seed: int) -> None:
        model, self.digits = upright_base(seed, LABELS, torch.Generator().manual_seed(seed))
        self.base, self.seed = model.state_dict(), seed

    def adapted(self, method: Method) -> Adaptation:
        """The base with the method on its hidden layers."""
        model = Residual()
        model.load_state_dict(self.base)
        return adapt(model, method, r"blocks\..*", seed=self.seed)

    def first_gradient(self, method: Method) -> float:
        """The norm of the gradient before the first step."""
        adaptation = self.adapted(method)
        F.cross_entropy(adaptation.model(self.digits.turned[:LABELS]), self.digits.labels[:LABELS]).backward()
        return float(torch.cat([p.grad.flatten() for p in adaptation.parameters() if p.grad is not None]).norm())

    def trained(self, method: Method, rate: float, steps: int) -> tuple[float, float]:
        """Loss on the training digits and accuracy on the others after training."""
        adaptation, generator = self.adapted(method), torch.Generator().manual_seed(self.seed)
        optimizer = torch.optim.AdamW(adaptation.parameters(), lr=rate, weight_decay=0.0)
        adaptation.attach(optimizer)
        fit(adaptation.model, optimizer, (self.digits.turned[:LABELS], self.digits.labels[:LABELS]), steps, generator)
        x, y = self.digits.turned, self.digits.labels
        with torch.no_grad():
            loss = F.cross_entropy(adaptation.model(x[:LABELS]), y[:LABELS])
        return float(loss), float(hits(adaptation.model, x[LABELS:], y[LABELS:]).mean())


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""What a low-rank core between the singular vectors adds to trained singular values: digits turned by a quarter.

    python benchmarks/singular_core.py [--seeds 3]

The task, the training and the choice of the learning rate are those of `digits_transfer.py`.
"""

import argparse
import statistics

import torch
from digits_transfer import RATES, transferred
from report import environment, table

from rankwise import LoRA, Method
from rankwise.adapters.salt import SALT
from rankwise.adapters.svfit import SVFit

METHODS: dict[str, Method | None] = {
    "head alone": None,
    "SVFit()": SVFit(),
    "SALT(rank=64, tail_rank=0)": SALT(rank=64, tail_rank=0),
    "SALT(rank=32, tail_rank=4)": SALT(rank=32, tail_rank=4),
    'SALT(rank=32, tail_rank=4, init="sam")': SALT(rank=32, tail_rank=4, init="sam"),
    "SALT(rank=32, tail_rank=4, relu=False)": SALT(rank=32, tail_rank=4, relu=False),
    "LoRA(rank=1)": LoRA(rank=1, alpha=1),
    "LoRA(rank=4)": LoRA(rank=4, alpha=4),
}


def main() -> None:
    """Train everything and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    torch.set_num_threads(1)
    rows = []
    for name, method in METHODS.items():
        runs = {rate: [transferred(method, rate, seed) for seed in seeds] for rate in RATES}
        best = max(RATES, key=lambda rate: statistics.mean(score for score, _ in runs[rate]))
        scores = [score for score, _ in runs[best]]
        rows.append([name, str(runs[best][0][1]), f"{best:g}", f"{statistics.mean(scores):.3f}"])
        print(rows[-1], flush=True)
    print(table(["method", "parameters beside the head", "learning rate", "accuracy"], rows))
    print(environment(threads=1))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Peak memory and time of a training step with SNELL and SNELLA, over LoRA's of the same rank.

    python benchmarks/snell_memory.py [--rounds 3] [--threads 1]

The model is the transformer of adapter_tax.py: of Llama's type, six layers of SmolLM2-135M's sizes (hidden 576, MLP
1536), batch 4 x 128, float32, rank 16 on all linear layers. Two peaks are measured: of the tensors that are alive in a
step, the model's own included (as in adapter_tax.py); and of the process, by what the model and two steps in a fresh
process add to the resident memory of Python and torch. The second one also sees the scratch memory inside an operation,
which the exact selection of a threshold needs. Time is that of a step.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import torch
from adapter_tax import RANK, TRANSFORMER, cost, label, ours, step
from report import environment, table

from rankwise import LoRA, Method
from rankwise.adapters.snell import SNELL
from rankwise.adapters.snella import SNELLA

METHODS: list[Method] = [
    LoRA(rank=RANK),
    SNELL(rank=RANK),
    SNELLA(rank=RANK),
]


def main() -> None:
    """Measure and print the table; with --process, the resident memory that one method takes in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--process", type=int, choices=range(len(METHODS)))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.process is not None:
        print(resident(METHODS[options.process]))
        return
    rows, figures = [], []
    for number, method in enumerate(METHODS):
        found = cost(TRANSFORMER, ours(method, TRANSFORMER), options.rounds)
        figures.append((found.memory, in_fresh_process(number, options.threads), found.time))
        rows.append(
            [label(method), *(f"{mine / lora:.3f}" for mine, lora in zip(figures[-1], figures[0], strict=True))]
        )
        print(rows[-1], flush=True)
    print(table(["method", "peak of tensors", "peak of the process", "time"], rows))
    print(environment(options.threads))


def resident(method: Method) -> int:
    """Kilobytes that a method's model and two steps add to this process at most."""
    before = high_water()
    model, x = ours(method, TRANSFORMER)(TRANSFORMER.model()), TRANSFORMER.inputs()
    for _ in range(2):
        step(model, x, [p for p in model.parameters() if p.requires_grad])
    return high_water() - before


def high_water() -> int:
    """The most kilobytes that this process has held; what Python's resource module says includes its parent's."""
    return int(re.findall(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[0])


def in_fresh_process(number: int, threads: int) -> float:
    """What `resident` gives for one of the methods in a process of its own."""
    command = [sys.executable, __file__, "--process", str(number), "--threads", str(threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()

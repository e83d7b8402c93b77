# SPDX-License-Identifier: Apache-2.0
"""One of two replicas that grow ranks, each on its half of the examples: python two_growing.py RANK FOLDER."""

import json
import os
import sys
from importlib import import_module
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn import functional as F

from growing_runs import PEAK, batch, network
from rankwise import IncreLoRA, adapt

STEPS = 40


def main(rank: int, folder: Path) -> None:
    """Train, and write the ranks after each step."""
    if "RANKWISE_FAULT" in os.environ:  # a run that asks whether tests can fail
        import_module("reliability.faults").plant()
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", store=distributed.FileStore(str(folder / "store"), 2), rank=rank, world_size=2
    )
    method = IncreLoRA(target_rank=3, init_warmup=2, incre_interval=2, top_h=1, total_steps=STEPS)
    adaptation = adapt(network(), method)
    replica = nn.parallel.DistributedDataParallel(adaptation.model)
    optimizer = torch.optim.AdamW(adaptation.parameters(), lr=PEAK)
    adaptation.attach(optimizer)
    history = []
    for step in range(STEPS):
        x, y = (half[rank::2] for half in batch(step))
        F.mse_loss(replica(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
        history.append([int(one.rank) for one in adaptation.adapters.values()])
    (folder / f"{rank}.json").write_text(json.dumps(history))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))

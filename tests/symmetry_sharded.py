# SPDX-License-Identifier: Apache-2.0
"""The processes of symmetry/cayley/engines/test_sharded.py: three search everything, then two. They fork after imports.

    python symmetry_sharded.py FOLDER

writes FOLDER/RANK.json: for each number of processes and each case the layers, and what else the tests ask for.
"""

import json
import sys
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import distributed

from rankwise.errors import RankwiseError
from rankwise.symmetry.cayley.engines.sharded import sharded_growth
from rankwise.symmetry.cayley.families.registry import Graph, graph
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.matrices import MatrixGraph
from rankwise.symmetry.cayley.result import Limits

CASES: dict[str, tuple[Graph, int | None]] = {  # and how many layers to search
    "lrx": (graph("lrx", 8), None),
    "directed": (graph("lx", 7), None),
    "cosets": (PermutationGraph(graph("lrx", 10).generators, start=(0, 0, 0, 1, 1, 1, 2, 2, 3, 3)), None),
    "matrices": (graph("heisenberg", 3, 7), None),
    "two words": (PermutationGraph(graph("lrx", 40).generators, start=(0,) * 36 + (1, 2, 3, 4)), 12),
    "one state": (PermutationGraph([(0, 1, 2)]), None),
}


def main(folder: Path) -> int:
    """Start the processes; the exit status."""
    context = get_context("fork")
    processes = [context.Process(target=process, args=(rank, folder)) for rank in range(3)]
    for each in processes:
        each.start()
    for each in processes:
        each.join()
    return max(abs(each.exitcode or 0) for each in processes)


def process(rank: int, folder: Path) -> None:
    """Join three processes, then two."""
    torch.set_num_threads(1)
    found = {}
    for world in (3, 2):
        if rank < world:
            store = distributed.FileStore(str(folder / f"store-{world}"), world)
            wait = timedelta(minutes=2)
            distributed.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=wait)
            found[world] = searched(rank)
            distributed.destroy_process_group()
    (folder / f"{rank}.json").write_text(json.dumps(found))


def searched(rank: int) -> dict[str, object]:
    """Every case, and two searches that one process cannot go on with."""
    plenty, found = 2**30, dict[str, object]()
    for name, (case, max_layers) in CASES.items():
        growth = sharded_growth(case, Limits(memory=plenty, max_layers=max_layers))
        last = None if growth.last_layer is None else growth.last_layer.tolist()
        found[name] = [growth.layers, growth.complete, growth.method, last]
    small = Limits(memory=40_000 if rank == 1 else plenty)
    endless = MatrixGraph([[[2**30, 1], [-1, 0]]])
    for name, case, limits in (("memory", graph("lrx", 8), small), ("overflow", endless, Limits(memory=plenty))):
        try:
            sharded_growth(case, limits)
        except RankwiseError as error:
            found[name] = [type(error).__name__, str(error)]
    return found


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

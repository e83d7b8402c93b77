# SPDX-License-Identifier: Apache-2.0
"""The command that searches with several processes, or several machines, started by torchrun (engines/sharded.py).

    torchrun --nproc-per-node 2 -m rankwise.symmetry.cayley.distributed lrx 9

prints the growth. On several machines each runs torchrun with the same --nnodes and --rdzv-endpoint. States travel by
nccl where each process has a GPU of its own, else by gloo.
"""

import argparse
import os
import sys
from dataclasses import replace

import torch
from torch import distributed

from rankwise.errors import RankwiseError, StateError
from rankwise.symmetry.cayley.engines.sharded import sharded_growth
from rankwise.symmetry.cayley.families.registry import graph
from rankwise.symmetry.cayley.result import Layer, Limits


def main(arguments: list[str]) -> int:
    """The command: search a family with the processes that torchrun started, and print the growth on the first.

    Args:
        arguments: a family's name and its parameters, and options.

    Returns:
        The exit status, 2 if the user made a mistake.
    """
    parser = argparse.ArgumentParser(prog="torchrun -m rankwise.symmetry.cayley.distributed")
    parser.add_argument("family", help="a generator family, such as lrx")
    parser.add_argument("parameters", type=int, nargs="*", help="its parameters, such as n")
    parser.add_argument("--max-layers", type=int, help="largest distance to look at")
    parser.add_argument("--memory", type=float, help="gigabytes for each process; by default its share of what is free")
    options = parser.parse_args(arguments)
    try:
        _start()
        mine = Limits().memory // int(os.environ["LOCAL_WORLD_SIZE"])
        limits = Limits(
            memory=mine if options.memory is None else int(options.memory * 1e9), max_layers=options.max_layers
        )
        first = distributed.get_rank() == 0
        if first:
            limits = replace(limits, report=_print_layer)
        found = sharded_growth(graph(options.family, *options.parameters), limits)
        if first:
            print(f"{found.title}: {found.total} states, {found.method}, {found.seconds:.2f} s")
            print(f"{'diameter' if found.complete else 'searched to distance'} {len(found.layers) - 1}")
            print("growth", *found.layers)
    except RankwiseError as error:
        print(f"rankwise: {error}", file=sys.stderr)
        return 2
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
    return 0


def _start() -> None:
    if "LOCAL_WORLD_SIZE" not in os.environ:
        raise StateError(
            "Start it with torchrun: `torchrun --nproc-per-node 2 -m rankwise.symmetry.cayley.distributed lrx 9`."
        )
    gpus = torch.cuda.is_available() and torch.cuda.device_count() >= int(os.environ["LOCAL_WORLD_SIZE"])
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if gpus else "gloo")


def _print_layer(layer: Layer) -> None:
    print(f"{layer.distance:5} {layer.size:15,} {layer.total:17,} {layer.seconds:9.2f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

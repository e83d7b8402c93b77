"""Energies and forces of 3BPA at 300 K: the same network with Gaunt and with Clebsch-Gordan products.

    python benchmarks/gaunt_forces.py --data FOLDER [--steps 2000] [--seeds 3] [--write docs/symmetry/gaunt.md]

The network, its training and its errors are those of examples/equivariant_forces.py. FOLDER has `train_300K.xyz`: 400
configurations are trained on, the other 100 are tested. Seeds change weights and batches, and are the same for both
products. Errors are mean absolute errors; the noise is the standard error over the seeds.
"""

import argparse
import math
import statistics
import sys
from pathlib import Path

import torch
from report import environment, replace_section, table

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from equivariant_forces import Network, clebsch_gordan, errors, gaunt, prepared, read_xyz, train

PRODUCTS = {"Gaunt": gaunt, "Clebsch-Gordan (e3nn)": clebsch_gordan}
TRAINED, TESTED, BATCH = 400, 100, 4


def cell(values: list[float]) -> str:
    """Mean and standard error."""
    noise = f" +- {statistics.stdev(values) / math.sqrt(len(values)):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{noise}"


def main() -> None:
    """Train, print, and write into the page if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--degree", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", metavar="PAGE", help="page with the markers <!-- forces --> and its end")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    data = read_xyz(asked.data / "train_300K.xyz")
    trained, tested, unit = prepared(data, TRAINED, TESTED)
    rest = [1e3 * unit * part.abs().mean().item() for part in (tested.energies, tested.forces)]
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in PRODUCTS}
    sizes = {}
    for seed in range(asked.seeds):
        for name, build in PRODUCTS.items():
            torch.manual_seed(seed)
            network = Network(int(data.kinds.max()) + 1, build, asked.degree)
            sizes[name] = sum(parameter.numel() for parameter in network.parameters())
            seconds = train(network, trained, asked.steps, BATCH, seed)
            found[name].append((*(1e3 * unit * error for error in errors(network, tested)), 1e3 * seconds))
            print(seed, name, [round(value, 1) for value in found[name][-1]], flush=True)
    rows = [["mean energy, no forces", "-", f"{rest[0]:.1f}", f"{rest[1]:.1f}", "-"]]
    for name, runs in found.items():
        energies, forces, times = (list(values) for values in zip(*runs, strict=True))
        rows.append([name, str(sizes[name]), cell(energies), cell(forces), f"{statistics.median(times):.0f}"])
    heads = ["product", "weights", "energy, meV", "forces, meV/A", "ms a step"]
    text = (
        f"{TRAINED} configurations trained on, {TESTED} tested, degree {asked.degree}, {asked.steps} steps of {BATCH}, "
        f"{asked.seeds} seeds.\n\n{table(heads, rows)}\n\n{environment(asked.threads, ('e3nn',))}"
    )
    print(text)
    if asked.write:
        replace_section(asked.write, "forces", text)


if __name__ == "__main__":
    main()

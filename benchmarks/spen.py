"""SPEN beside GIN on the TU sets by 10-fold cross-validation, and its memory beside a global second-order network.

    python benchmarks/spen.py --data FOLDER --rows benchmarks/spen.jsonl [--sets MUTAG PTC] [--folds 0 1] [--epochs 100]
    python benchmarks/spen.py --data FOLDER --rows benchmarks/spen.jsonl --memory --write docs/symmetry/spen.md

FOLDER holds MUTAG.txt, PTC.txt, ... in the one-file text form (rankwise.symmetry.spen.read_graphs). Each fold of each
model is one line of the rows file and is not run again while its settings are the same, so a run can be stopped at any
time and goes on; processes with different --folds may share the file. Folds are stratified and the same for both
models. benchmarks/spen.jsonl holds the folds behind the page; another file starts anew.

The usual protocol of these sets has no validation part: what is reported is the epoch with the best mean test accuracy
over the ten folds. That chooses on the test folds and is too good, so the last epoch stands beside it. +- is the
standard deviation over folds, s/epoch their median time of training. "SPEN - GIN" is the mean difference over the
folds that both have, at each one's best epoch, and its standard error.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
from dataclasses import asdict
from pathlib import Path

import numpy as np
import spen_memory
import torch
from report import replace_section, table
from sklearn.model_selection import StratifiedKFold
from spen_training import MODELS, Training, prepared, run_fold
from torch_geometric.data import Data

from rankwise.bench.machine import processor
from rankwise.symmetry.spen import read_graphs

SETS = ("MUTAG", "PTC", "PROTEINS", "NCI1", "NCI109", "IMDBBINARY", "IMDBMULTI")
SIZES = (16, 32, 64, 128, 256)
FOLDS = 10


def measure(name: str, asked: argparse.Namespace, training: Training) -> None:
    """Run the folds of one set that are not among the rows yet."""
    missing = [
        (model, fold)
        for model in asked.models
        for fold in asked.folds
        if not any(_key(row) == (name, model, fold) for row in rows(asked.rows, training))
    ]
    if not missing:
        return
    graphs = read_graphs(asked.data / f"{name}.txt")
    labels = np.array([int(data.y) for data in graphs])
    splits = list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(labels, labels))
    ready = {model: prepared(graphs, model, training.hops) for model in {model for model, _ in missing}}
    for model, fold in sorted(missing, key=lambda item: item[1]):
        parts = [[ready[model][number] for number in part] for part in splits[fold]]
        found = run_fold(model, parts[0], parts[1], 1 + int(labels.max()), training)
        row = {"set": name, "model": model, "fold": fold, "training": asdict(training), "machine": machine(), **found}
        asked.rows.parent.mkdir(parents=True, exist_ok=True)
        with asked.rows.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{name} {model} fold {fold}: {found['accuracies'][-1]:.3f}, {found['seconds']:.0f} s", flush=True)  # type: ignore[index]


def rows(path: Path, training: Training) -> list[dict]:
    """The rows of this training that are there."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [row for row in map(json.loads, lines) if row["training"] == asdict(training)]


def accuracies(found: list[dict]) -> str:
    """The table of both models on the sets of which any fold was run."""
    heads = ["set", "folds", *(f"{model}, {what}" for model in MODELS for what in ("best epoch", "last epoch"))]
    heads += ["SPEN - GIN", *(f"{model}, s/epoch" for model in MODELS)]
    lines = []
    for name in SETS:
        of = {model: [row for row in found if (row["set"], row["model"]) == (name, model)] for model in MODELS}
        if not any(of.values()):
            continue
        counts = " / ".join(str(len(of[model])) for model in MODELS)
        cells = [cell for model in MODELS for cell in _scores([row["accuracies"] for row in of[model]])]
        times = [
            np.median([row["seconds"] / len(row["losses"]) for row in of[model] or [{"seconds": 0, "losses": [0]}]])
            for model in MODELS
        ]
        lines.append(
            [name, counts, *cells, _difference(of), *(f"{seconds:.2f}" if seconds else "-" for seconds in times)]
        )
    return table(heads, lines)


def memory(folder: Path, hops: int) -> str:
    """Ratios on regular graphs of growing size, and on the sets."""
    generator = torch.Generator().manual_seed(0)
    lines = []
    for nodes in SIZES:
        local, whole = spen_memory.kept(_regular(nodes, generator), hops, 8)
        lines.append(
            [f"random, 3 edges a node, {nodes} nodes", _megabytes(local), _megabytes(whole), f"{whole / local:.2f}"]
        )
    for name in SETS:
        if (folder / f"{name}.txt").exists():
            graphs = read_graphs(folder / f"{name}.txt")
            every = max(1, len(graphs) // 100)
            local, whole = np.sum([spen_memory.kept(data, hops, 8) for data in graphs[::every]], axis=0)
            lines.append(
                [f"{name}, {len(graphs[::every])} graphs", _megabytes(local), _megabytes(whole), f"{whole / local:.2f}"]
            )
    return table(["graphs", "ego networks", "whole graph", "times"], lines)


def machine() -> str:
    """Machine, date and versions, as one line."""
    names = ("rankwise", "torch", "torch-geometric")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    today = datetime.datetime.now(tz=datetime.UTC).date()
    where = f"{processor()}, {torch.get_num_threads()} of {os.cpu_count()} cores"
    return f"{today}, {where}, Python {platform.python_version()}, {versions}."


def main() -> None:
    """Run what is missing, print the tables, and write them into the page if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", default=SETS, choices=SETS)
    parser.add_argument("--models", nargs="*", default=MODELS, choices=MODELS)
    parser.add_argument("--folds", nargs="*", type=int, default=range(FOLDS))
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--hops", type=int, default=1)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory", action="store_true", help="the table of memory, too")
    parser.add_argument("--write", help="page with the markers <!-- accuracy --> and <!-- memory -->")
    asked = parser.parse_args()
    training = Training(asked.epochs, asked.batch, asked.hops, asked.width, asked.device)
    for name in asked.sets:
        measure(name, asked, training)
    found = rows(asked.rows, training)
    texts, hops = {}, f"{asked.hops} hop{'s' * (asked.hops > 1)}"
    if found:
        settings = f"{asked.epochs} epochs, batches of {asked.batch}, {hops}, width {asked.width}."
        texts["accuracy"] = f"{accuracies(found)}\n\n{settings} " + " ".join(sorted({row["machine"] for row in found}))
    if asked.memory:
        texts["memory"] = f"{memory(asked.data, asked.hops)}\n\n{hops}. {machine()}"
    for section, text in texts.items():
        print(text)
        if asked.write:
            replace_section(asked.write, section, text)


def _key(row: dict) -> tuple[str, str, int]:
    return row["set"], row["model"], row["fold"]


def _scores(runs: list[list[float]]) -> tuple[str, str]:
    if not runs:
        return "-", "-"
    best, last = _best_epoch(runs), 100 * np.array(runs)[:, -1]
    return f"{best.mean():.1f} +- {best.std():.1f}", f"{last.mean():.1f} +- {last.std():.1f}"


def _difference(of: dict[str, list[dict]]) -> str:
    runs = {model: {row["fold"]: row["accuracies"] for row in found} for model, found in of.items()}
    folds = sorted(set.intersection(*map(set, runs.values())))
    if len(folds) < 2:
        return "-"
    first, second = (_best_epoch([found[fold] for fold in folds]) for found in runs.values())
    change = first - second
    return f"{change.mean():+.1f} ({change.std(ddof=1) / np.sqrt(len(folds)):.1f})"


def _best_epoch(runs: list[list[float]]) -> np.ndarray:
    """The accuracy of each run in percent, at the epoch that is best for all of them together."""
    values = 100 * np.array(runs)
    return values[:, values.mean(axis=0).argmax()]


def _regular(nodes: int, generator: torch.Generator) -> Data:
    """A cycle and a random matching on it."""
    order = torch.randperm(nodes, generator=generator)
    ring = torch.stack([torch.arange(nodes), (torch.arange(nodes) + 1) % nodes])
    edges = torch.cat([ring, order.view(2, -1)], dim=1)
    both = torch.cat([edges, edges.flip(0)], dim=1)
    return Data(edge_index=both.unique(dim=1), num_nodes=nodes)


def _megabytes(count: float) -> str:
    return f"{count / 2**20:.2f} MiB"


if __name__ == "__main__":
    main()

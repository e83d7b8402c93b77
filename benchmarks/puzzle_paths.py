# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/symmetry/paths.md: times of shortest paths, and what a predictor trained on walks does for a beam.

    python benchmarks/puzzle_paths.py [--write docs/symmetry/paths.md]

Scrambles are walks that never undo a step. The predictor is a network of one hidden layer on the tetraminx (933,120
states), trained for 300 steps on 128 walks of 11 steps each; both beams are asked to solve the same 20 scrambles of 30
steps within 40 steps. Single thread; seeds are fixed.
"""

import argparse
import time

import numpy as np
import torch
from report import environment, replace_section, table
from torch import nn

from rankwise.symmetry.cayley.beam import beam_search
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.paths import shortest_path
from rankwise.symmetry.cayley.puzzles import cube_fixed_half, cube_fixed_quarter, megaminx, skewb, tetraminx
from rankwise.symmetry.cayley.walks import nonbacktracking_walks

SCRAMBLES = [
    (cube_fixed_half(2), 30),
    (cube_fixed_quarter(2), 30),
    (tetraminx(), 30),
    (skewb(), 30),
    (cube_fixed_half(3), 8),
    (cube_fixed_quarter(3), 9),
    (megaminx(), 7),
]
WIDTHS = (10, 100, 1000)
HAMMING_WIDTHS = (*WIDTHS, 20_000)
COUNT = 20


def main() -> None:
    """Print both tables, or put them into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", help="page whose sections are replaced")
    page = parser.parse_args().write
    torch.set_num_threads(1)
    for name, found in (("shortest", shortest()), ("beams", beams())):
        text = f"{found}\n\n{environment(threads=1)}"
        if page is None:
            print(f"{text}\n", flush=True)
        else:
            replace_section(page, name, text)


def shortest() -> str:
    """Lengths and times of shortest paths that undo scrambles."""
    rows = []
    for graph, steps in SCRAMBLES:
        lengths, seconds = [], []
        for scrambled in scrambles(graph, 10, steps):
            begin = time.perf_counter()
            lengths.append(shortest_path(graph, graph.start_states[0], scrambled).length)
            seconds.append(time.perf_counter() - begin)
        spread = f"{min(lengths)} to {max(lengths)}"
        rows.append([graph.title, str(steps), spread, f"{np.median(seconds):.2f}", f"{max(seconds):.2f}"])
    return table(["graph", "scrambled by", "shortest", "median seconds", "longest"], rows)


def beams() -> str:
    """How many scrambles of the tetraminx beams of different widths solve."""
    puzzle = tetraminx()
    begin = time.perf_counter()
    model = trained(puzzle)
    training = time.perf_counter() - begin
    starts = scrambles(puzzle, COUNT, 30)
    best = [shortest_path(puzzle, puzzle.start_states[0], start).length for start in starts]
    rows = [["meet in the middle", "", f"{COUNT} of {COUNT}", f"{np.mean(best):.1f}", ""]]
    for name, predictor, widths in (("Hamming", None, HAMMING_WIDTHS), ("trained", model, WIDTHS)):
        for width in widths:
            begin = time.perf_counter()
            paths = [beam_search(puzzle, start, width, 40, predictor) for start in starts]
            seconds = (time.perf_counter() - begin) / COUNT
            lengths = [path.length for path in paths if path is not None]
            mean = f"{np.mean(lengths):.1f}" if lengths else ""
            rows.append([name, str(width), f"{len(lengths)} of {COUNT}", mean, f"{seconds:.2f}"])
    heads = ["predictor", "width", "solved", "mean length", "seconds each"]
    return f"{table(heads, rows)}\n\nTraining took {training:.0f} seconds."


def scrambles(graph: PermutationGraph, count: int, steps: int) -> np.ndarray:
    """States at the ends of walks from the start."""
    return nonbacktracking_walks(graph, count, steps, np.random.default_rng(1)).states[-count:]


def trained(puzzle: PermutationGraph) -> nn.Module:
    """A network that guesses from a state how many steps of a walk led there."""
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    size = puzzle.size
    model = nn.Sequential(nn.Embedding(size, 16), nn.Flatten(), nn.Linear(16 * size, 128), nn.ReLU(), nn.Linear(128, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(300):
        states, steps = nonbacktracking_walks(puzzle, 128, 11, generator)
        loss = (model(torch.from_numpy(states))[:, 0] - torch.from_numpy(steps).float()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


if __name__ == "__main__":
    main()

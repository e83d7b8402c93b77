# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/symmetry/puzzles.md: orders of the puzzles, and growth of those that a search can exhaust.

    python benchmarks/puzzle_table.py [--write docs/symmetry/puzzles.md]

Orders are counted from the generators by Schreier and Sims's algorithm (sympy); the megaminx alone takes a minute.
Layers are searched by the engine that sorts whole states.
"""

import argparse

from report import replace_section, table

from rankwise.symmetry.cayley.engines.frontier import FrontierEngine
from rankwise.symmetry.cayley.families.registry import graph
from rankwise.symmetry.cayley.puzzles import dino_cube_fixed, skewb, tetraminx
from rankwise.symmetry.cayley.result import Limits

CALLS: list[tuple[str, tuple[int, ...]]] = [
    ("cube_quarter", (2,)),
    ("cube_quarter", (3,)),
    ("cube_half", (3,)),
    ("cube_fixed_quarter", (2,)),
    ("cube_fixed_half", (2,)),
    ("cube_fixed_quarter", (3,)),
    ("cube_fixed_half", (3,)),
    ("cube_fixed_quarter", (4,)),
    ("pyraminx", ()),
    ("tetraminx", ()),
    ("skewb", ()),
    ("dino_cube", ()),
    ("dino_cube_fixed", ()),
    ("megaminx", ()),
    ("starminx", ()),
    ("hungarian_rings", (20, 20, 5, 5)),
    ("globe", (1, 8)),
    ("globe", (3, 4)),
]
SEARCHED = [graph("cube_fixed_quarter", 2), graph("cube_fixed_half", 2), tetraminx(), skewb(), dino_cube_fixed()]
MEMORY = 2**32


def main() -> None:
    """Print both tables, or put them into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", help="page whose sections are replaced")
    page = parser.parse_args().write
    for name, text in (("orders", orders()), ("growth", growths())):
        if page is None:
            print(f"{text}\n", flush=True)
        else:
            replace_section(page, name, text)


def orders() -> str:
    """Generators, letters of a state and order of each puzzle."""
    rows = []
    for name, parameters in CALLS:
        built = graph(name, *parameters)
        call = f"`{name}({', '.join(map(str, parameters))})`"
        order = built.order if built.order < 10**30 else f"{built.order:.6e}"
        rows.append(
            [call, str(len(built.generators)), str(built.size), f"{order:,}" if order == built.order else order]
        )
    return table(["puzzle", "generators", "stickers", "order"], rows)


def growths() -> str:
    """How many states lie at each distance, for the puzzles that can be exhausted."""
    rows = []
    for built in SEARCHED:
        layers = FrontierEngine().grow(built, Limits(memory=MEMORY, threads=1)).layers
        rows.append([built.title, str(len(layers) - 1), f"{sum(layers):,}", ", ".join(map(str, layers))])
    return table(["puzzle", "diameter", "states", "growth"], rows)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/symmetry/families.md: what the families' docstrings say, and diameters searched for small n.

    python benchmarks/family_table.py [--write docs/symmetry/families.md]

The first table is taken from the docstrings. The second is searched layer by layer, every state kept and compared, and
has a gap where a family does not take n or the search would look at more than 20 million neighbors.
"""

import argparse
import inspect
import re
from math import factorial

from report import replace_section, table

from rankwise.errors import RankwiseError
from rankwise.symmetry.cayley.families import families, graph
from rankwise.symmetry.cayley.families.registry import Graph
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.keys import StateKeys
from rankwise.symmetry.cayley.layers import Layers

SIZES = range(3, 9)
MOST_NEIGHBORS = 20_000_000
MEMORY = 2**30
N = "n"
HEADS = ("Order", "Diameter", "Source")
PUZZLES = "rankwise.symmetry.cayley.puzzles"
FURTHER: dict[str, list[tuple[int | str, ...]]] = {  # families of more than n, and those with n elsewhere
    "lrx": [(N,), (N, 2)],
    "top_spin": [(N, 3), (N, 4)],
    "generalized_stars": [(N, 2), (N, 3)],
    "cubic_pancake": [(N, kind) for kind in range(1, 8)],
    "increasing_k_cycles": [(N, 3), (N, 4)],
    "consecutive_k_cycles": [(N, 3), (N, 4)],
    "wrapped_k_cycles": [(N, 3), (N, 4)],
    "koltsov3": [(N, 1, 0, 2), (N, 2, 1)],
    "sheveleva2": [(N, 1), (N, 2), (N, 3)],
    "conjugacy_classes": [(N, 3), (N, 4)],
    "rand_generators": [(N, 2, 0)],
    "three_cycles_01i": [(N,), (N, 0)],
    "lsl_cycles": [(N,), (N, 0)],
    "heisenberg": [(3, N), (3, N, 0), (4, N)],
    "special_linear_fundamental_roots": [(2, N), (3, N)],
    "special_linear_root_weyl": [(2, N), (3, N)],
}


def main() -> None:
    """Print both tables, or put them into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", help="page whose sections are replaced")
    page = parser.parse_args().write
    for name, text in (("definitions", definitions()), ("searched", searched())):
        if page is None:
            print(f"{text}\n")
        else:
            replace_section(page, name, text)


def definitions() -> str:
    """Each family with its parameters and what its docstring says."""
    rows = []
    for name in _names():
        parameters = ", ".join(inspect.signature(families()[name]).parameters)
        text = inspect.getdoc(families()[name]) or ""
        rows.append([f"`{name}({parameters})`", text.split("\n")[0], *(_entry(text, key) for key in HEADS)])
    return table(["family", "generators", *(key.lower() for key in HEADS)], rows)


def searched() -> str:
    """The diameter of each family for small n, with the order of all groups but S_n."""
    rows = []
    for name in _names():
        for parameters in FURTHER.get(name, [(N,)]):
            call = f"`{name}({', '.join(map(str, parameters))})`"
            rows.append(
                [call, *(_cell(name, [n if item == N else int(item) for item in parameters], n) for n in SIZES)]
            )
    return table(["family", *(f"n = {n}" for n in SIZES)], rows)


def _names() -> list[str]:
    return [name for name, builder in families().items() if not builder.__module__.startswith(PUZZLES)]


def _entry(text: str, key: str) -> str:
    found = re.search(rf"^{key}: (.+?)(?=\n\n|\n[A-Z][a-z]+: |\Z)", text, flags=re.DOTALL | re.MULTILINE)
    return "" if found is None else " ".join(found.group(1).split()).removesuffix(".")


def _cell(name: str, parameters: list[int], n: int) -> str:
    try:
        built = graph(name, *parameters)
    except RankwiseError:
        return ""
    if isinstance(built, PermutationGraph) and built.order * len(built.generators) > MOST_NEIGHBORS:
        return ""
    sizes = _layers(built)
    order = sum(sizes)
    if sum(sizes) * len(built.generators) > MOST_NEIGHBORS:
        return ""
    whole = isinstance(built, PermutationGraph) and order == factorial(n)
    return f"{len(sizes) - 1}" if whole else f"{len(sizes) - 1} [{order}]"


def _layers(built: Graph) -> list[int]:
    """How many states lie at each distance; cut off after MOST_NEIGHBORS neighbors."""
    layers = Layers(built, StateKeys(built), built.start_states[0])
    sizes: list[int] = []
    while len(layers.last) and sum(sizes) * len(built.generators) <= MOST_NEIGHBORS:
        sizes.append(len(layers.last))
        layers.grow(MEMORY)
    return sizes


if __name__ == "__main__":
    main()

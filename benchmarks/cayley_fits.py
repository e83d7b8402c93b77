# SPDX-License-Identifier: Apache-2.0
"""The table of docs/symmetry/fits.md: formulas for diameters, guessed from searches that take seconds.

python benchmarks/cayley_fits.py [--write docs/symmetry/fits.md]
"""

import argparse

from report import environment, replace_section, table

from rankwise.errors import SymmetryError
from rankwise.symmetry.cayley.engines.bitmap import BitmapEngine
from rankwise.symmetry.cayley.families.registry import graph
from rankwise.symmetry.cayley.quasipolynomial import fit
from rankwise.symmetry.cayley.result import Limits

FAMILIES = [
    ("lrx", 2, 10),
    ("coxeter", 2, 9),
    ("cyclic_coxeter", 3, 10),
    ("stars", 2, 9),
    ("all_transpositions", 2, 9),
    ("full_reversals", 3, 9),
    ("transposons", 3, 9),
    ("block_interchange", 2, 9),
    ("pancake", 3, 10),
    ("lx", 5, 10),
]


def main() -> None:
    """Print the table, or put it into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", help="page whose section is replaced")
    page = parser.parse_args().write
    text = f"{table(['family', 'n', 'diameters', 'what `fit` says'], rows())}\n\n{environment(threads=1)}"
    if page is None:
        print(text)
    else:
        replace_section(page, "diameters", text)


def rows() -> list[list[str]]:
    """Search each family and fit its diameters."""
    found, limits = [], Limits(memory=2**30, threads=1)
    for name, first, last in FAMILIES:
        grown = [BitmapEngine().grow(graph(name, n), limits) for n in range(first, last + 1)]
        diameters = [growth.diameter for growth in grown]
        try:
            said = fit(diameters, first=first).summary()
        except SymmetryError as error:
            said = f"refused: {str(error).split('residue. ')[1]}"
        found.append([f"`{name}`", f"{first}..{last}", ", ".join(map(str, diameters)), said])
    return found


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/symmetry/short_cuts.md: closed forms at n = 30, and symmetry reduction beside bitmaps.

    python benchmarks/cayley_short_cuts.py [--write docs/symmetry/short_cuts.md]

Seconds are the best of three runs after a first one, on one thread. Memory is the largest sum of arrays that were held
at once, as Python's tracemalloc counts it, in a run of its own. Growths that both engines find must be equal.
"""

import argparse
import time
import tracemalloc

from report import environment, replace_section, table

from rankwise.symmetry.cayley.engines.bitmap import BitmapEngine
from rankwise.symmetry.cayley.engines.closed import ClosedFormEngine
from rankwise.symmetry.cayley.engines.engine import Engine
from rankwise.symmetry.cayley.engines.symmetric import SymmetricEngine
from rankwise.symmetry.cayley.families.registry import graph
from rankwise.symmetry.cayley.graph import PermutationGraph
from rankwise.symmetry.cayley.result import Growth, Limits

CLOSED = ["coxeter", "stars", "all_transpositions", "coxeter_b", "coxeter_d"]
COMPARED = [
    ("lx", (9,)),
    ("lrx", (10,)),
    ("full_reversals", (9,)),
    ("wrapped_k_cycles", (10, 3)),
    ("cyclic_coxeter", (10,)),
    ("generalized_stars", (10, 3)),
    ("stars", (10,)),
    ("three_cycles", (10,)),
]
BEYOND = [
    ("generalized_stars", (16, 2)),
    ("three_cycles_0ij", (14,)),
    ("three_cycles", (16,)),
    ("stars", (20,)),
    ("all_transpositions", (20,)),
]
LIMITS = Limits(memory=2**31, keep=0, threads=1)


def main() -> None:
    """Print the tables, or put them into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", help="page whose sections are replaced")
    page = parser.parse_args().write
    for name, rows in (("closed", closed()), ("compared", compared()), ("beyond", beyond())):
        text = f"{rows}\n\n{environment(threads=1)}"
        if page is None:
            print(f"{text}\n", flush=True)
        else:
            replace_section(page, name, text)


def closed() -> str:
    """How long the formulas take at n = 30, the recognition included."""
    rows = []
    for name in CLOSED:
        searched, engine = graph(name, 30), ClosedFormEngine()
        began = time.perf_counter()
        assert engine.refuses(searched) is None
        growth = engine.grow(searched, LIMITS)
        seconds = time.perf_counter() - began
        rows.append([f"`{name}(30)`", f"{growth.total:.4e}", str(growth.diameter), f"{1000 * seconds:.0f} ms"])
    return table(["graph", "states", "diameter", "time"], rows)


def compared() -> str:
    """Seconds and memory of both engines where bitmaps can hold the group."""
    rows = []
    for name, parameters in COMPARED:
        searched = graph(name, *parameters)
        assert isinstance(searched, PermutationGraph)
        by_orbits, seconds, memory = measured(SymmetricEngine(), searched)
        by_bits, bit_seconds, bit_memory = measured(BitmapEngine(), searched)
        assert by_orbits.layers == by_bits.layers, searched.title
        orbits, symmetries = (int(by_orbits.method.split()[place]) for place in (1, 4))
        call = f"`{name}({', '.join(map(str, parameters))})`"
        both = [f"{seconds:.2f} s", f"{bit_seconds:.2f} s", f"{memory / 1e6:.1f} MB", f"{bit_memory / 1e6:.1f} MB"]
        rows.append([call, f"{symmetries:,}", f"{by_orbits.total:,}", f"{orbits:,}", *both])
    heads = ["graph", "symmetries", "states", "orbits", "time, symmetry", "bitmap", "memory, symmetry", "bitmap"]
    return table(heads, rows)


def beyond() -> str:
    """Groups far too large for one bit each."""
    rows = []
    for name, parameters in BEYOND:
        growth, seconds, memory = measured(SymmetricEngine(), graph(name, *parameters))
        call, orbits = f"`{name}({', '.join(map(str, parameters))})`", int(growth.method.split()[1])
        sizes = [f"{growth.total:,}", f"{orbits:,}", str(growth.diameter)]
        rows.append([call, *sizes, f"{seconds:.2f} s", f"{memory / 1e6:.1f} MB"])
    return table(["graph", "states", "orbits", "diameter", "time", "memory"], rows)


def measured(engine: Engine, searched: PermutationGraph) -> tuple[Growth, float, int]:
    """The growth, the seconds and the bytes."""
    growth = engine.grow(searched, LIMITS)
    seconds = min(engine.grow(searched, LIMITS).seconds for _ in range(3))
    tracemalloc.start()
    engine.grow(searched, LIMITS)
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return growth, seconds, memory


if __name__ == "__main__":
    main()

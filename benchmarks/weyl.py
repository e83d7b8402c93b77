"""Face counts of Weyl polytopes: by orders of Weyl groups (rankwise), and by computing the hull.

    python benchmarks/weyl.py [--passagemath /path/to/python] [--write docs/symmetry/weyl.md]

First all 256 weights of E8 whose numbers are 0 or 1, from a fresh Cartan matrix, with Euler's relation checked on each.
Then the polytopes of A4 and B4 with lam = rho. The hull route (weyl_hull.py) starts from the listed vertices, and so
does passagemath-polyhedra, whose Python is named on the command line because its packages need not be rankwise's. Times
are medians; rankwise's "first" counts everything from the matrix on, "again" a new weight of a matrix that was used
before. All three must agree.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from itertools import product

import weyl_hull
from report import replace_section, table

from rankwise.bench.machine import processor
from rankwise.symmetry.weyl import Cartan, HighestWeight

_PEER = """
import json, sys, time
from sage.all__sagemath_polyhedra import Polyhedron
points, rounds = json.load(sys.stdin)
seconds = []
for _ in range(rounds):
    start = time.perf_counter()
    counts = Polyhedron(vertices=points).f_vector()
    seconds.append(time.perf_counter() - start)
print(json.dumps([[int(count) for count in counts], sorted(seconds)[rounds // 2]]))
"""


def median(call: Callable[[], object], rounds: int) -> float:
    """Median seconds of a call."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def all_of_e8() -> None:
    """Count the faces for every zero/one weight of E8 and check Euler's relation."""
    cartan = Cartan.of("E8")
    for lam in product((0, 1), repeat=8):
        counts = HighestWeight(cartan, lam).f_vector()
        assert sum((-1) ** size * count for size, count in enumerate(counts)) == 1


def row(name: str, peer: str | None) -> list[str]:
    """One polytope by all routes."""
    cartan = Cartan.of(name)
    lam = (1,) * cartan.rank
    counts = HighestWeight(cartan, lam).f_vector()
    points = list(HighestWeight(cartan, lam).vertices())
    first = median(lambda: HighestWeight(Cartan(cartan.matrix), lam).f_vector(), 51)
    again = median(lambda: HighestWeight(cartan, lam).f_vector(), 501)
    assert weyl_hull.f_vector(points, []) == counts
    hull = median(lambda: weyl_hull.f_vector(points, []), 5)
    cells = [f"{name}, rho", str(counts), f"{first * 1e6:.0f} us", f"{again * 1e6:.0f} us", f"{hull * 1e3:.0f} ms"]
    cells.append(f"{hull / again:,.0f}")
    if peer is None:
        return [*cells, "not run", "-"]
    done = subprocess.run(
        [peer, "-c", _PEER], input=json.dumps([points, 5]), capture_output=True, text=True, check=True
    )
    theirs, seconds = json.loads(done.stdout)
    assert tuple(theirs[1:]) == counts  # they count the empty face first
    return [*cells, f"{seconds * 1e3:.0f} ms", f"{seconds / again:,.0f}"]


def environment(peer: str | None) -> str:
    """Machine, date and versions, as one line."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("rankwise", "numpy", "scipy")]
    if peer:
        ask = "from importlib.metadata import version; print(version('passagemath-polyhedra'))"
        found = subprocess.run([peer, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()
        versions.append(f"passagemath-polyhedra {found}")
    today = datetime.datetime.now(tz=datetime.UTC).date()
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    where = f"{processor()}, {threads} of {os.cpu_count()} cores, Python {platform.python_version()}"
    return f"{today}, {where}, {', '.join(versions)}."


def main() -> None:
    """Measure, print, and write into the page if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passagemath", help="a Python that has passagemath-polyhedra")
    parser.add_argument("--write", help="page with the markers <!-- faces --> and <!-- end of faces -->")
    asked = parser.parse_args()
    heads = ["polytope", "faces by dimension", "first", "again", "scipy hull", "times", "passagemath", "times"]
    rows = [row(name, asked.passagemath) for name in ("A4", "B4")]
    whole = f"All 256 zero/one weights of E8, from a fresh matrix: {median(all_of_e8, 7):.3f} s."
    text = f"{table(heads, rows)}\n\n{whole}\n\n{environment(asked.passagemath)}"
    print(text)
    if asked.write:
        replace_section(asked.write, "faces", text)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""A search on disk that waits after each layer, to be killed: python searching.py FOLDER."""

import sys
import time
from pathlib import Path

from rankwise.symmetry.cayley import Limits, graph
from rankwise.symmetry.cayley.engines.disk import DiskEngine


def main(folder: Path) -> None:
    """Search LRX on 9 letters, slowly."""

    def report(layer) -> None:
        print(layer.distance, flush=True)
        time.sleep(0.02)

    DiskEngine().grow(graph("lrx", 9), Limits(disk=folder, report=report, threads=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Run the benchmarks and write their tables into docs/benchmarks.md and docs/reliability.md (`make bench`)."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = str(HERE.parent / "docs" / "benchmarks.md")
SCRIPTS = [["adapter_tax.py", "--write", PAGE], ["load_save.py", "--write", PAGE], ["reliability_page.py"]]


def main() -> None:
    """Run each in a process of its own, one after another."""
    for script, *arguments in SCRIPTS:
        print(f"== {script}", flush=True)
        subprocess.run([sys.executable, str(HERE / script), *arguments], check=True)


if __name__ == "__main__":
    main()

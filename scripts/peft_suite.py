# SPDX-License-Identifier: Apache-2.0
"""Run every registered method through PEFT's own tests.

    python scripts/peft_suite.py [pytest arguments]

Downloads the source distribution of the installed PEFT into .cache/peft_suite (its tests are in there, not in the
wheel), copies tests/integrations/peft_suite beside them and runs pytest there. Nothing of PEFT's tests is part of this
repository.
"""

import os
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "peft_suite"
OURS = ROOT / "tests" / "integrations" / "peft_suite"
COPIES = {
    "suite_conftest.py": "conftest.py",
    "suite_rows.py": "suite_rows.py",
    "suite_decoder.py": "test_suite_decoder.py",
}
TESTS = ("test_custom_models.py", "test_suite_decoder.py")


def main() -> int:
    """Fetch, copy, run; the exit code is pytest's."""
    tests = fetched(version("peft"))
    (tests / "__init__.py").touch()
    for source, target in COPIES.items():
        shutil.copyfile(OURS / source, tests / target)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-W",
        "ignore",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        "--rootdir",
        str(tests.parent),
    ]
    arguments = sys.argv[1:]
    if not any(argument.startswith("tests/") for argument in arguments):
        arguments += [f"tests/{name}" for name in TESTS]
    settings = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    return subprocess.run([*command, *arguments], cwd=tests.parent, env=os.environ | settings, check=False).returncode


def fetched(release: str) -> Path:
    """The folder of PEFT's tests, downloaded if it is not there yet."""
    folder = CACHE / f"peft-{release}" / "tests"
    if not folder.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [
            "download",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--no-binary",
            ":all:",
            f"peft=={release}",
        ]
        subprocess.run([sys.executable, "-m", "pip", *command, "--dest", str(CACHE)], check=True)
        with tarfile.open(CACHE / f"peft-{release}.tar.gz") as archive:
            archive.extractall(CACHE, filter="data")
    return folder


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""What machine a number was measured on."""

import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


def processor() -> str:
    """The processor's name, its architecture where the system does not tell the name."""
    lines = _CPUINFO.read_text().splitlines() if _CPUINFO.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())

# SPDX-License-Identifier: Apache-2.0
"""The two places a command writes to."""

from rich.console import Console


def output() -> Console:
    """Standard output: results."""
    return Console(highlight=False)


def status() -> Console:
    """Standard error: what is going on."""
    return Console(stderr=True)

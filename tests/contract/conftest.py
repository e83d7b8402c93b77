# SPDX-License-Identifier: Apache-2.0
"""Runs every test marked with a feature on all cells of that feature: each method on each kind of target."""

from collections.abc import Iterator

import pytest
import torch

from rankwise.testing.grid import Cell, cells

# About a second a cell; these stand for the ways a delta is applied, and `make test-all` compiles the others.
QUICK_TO_COMPILE = {"linear", "conv2d", "embedding", "mha-in-proj", "experts-3d", "linear-bf16"}


torch.set_num_threads(1)  # layers of 3 to 8 features: a second thread only waits


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "feature(name): a check of the contract, run on every cell of that feature")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("feature")
    if marker is not None:
        metafunc.parametrize("cell", [_parameter(cell) for cell in cells(*marker.args)])


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    cell = pyfuncitem.funcargs.get("cell")
    if cell is None or "results" in pyfuncitem.funcargs:  # those ran elsewhere, see two_processes.py
        return (yield)
    with cell.filled_or_refused():
        yield
    return True


def _parameter(cell: Cell):
    marks = [] if cell.kind.available else [pytest.mark.skip(f"{cell.kind.package} is not installed")]
    if cell.feature == "compile" and cell.kind.name not in QUICK_TO_COMPILE:
        marks.append(pytest.mark.slow)
    return pytest.param(cell, id=str(cell), marks=marks)

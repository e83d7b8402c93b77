# SPDX-License-Identifier: Apache-2.0
"""Put rankwise's rows in the place of PEFT's; `scripts/peft_suite.py` copies this beside PEFT's tests as conftest.py.

The parametrize marks of PEFT's tests hold the list objects and are expanded at collection, so the lists are changed in
place. Tests that are left without rows of ours (they are about one of PEFT's own methods) are taken out, by name and
not silently.
"""

import pytest

from rankwise.integrations.peft.config import RankwiseConfig

from . import suite_rows as rows
from . import test_custom_models as custom

ROWS = {
    "TEST_CASES": rows.rows(),
    "ALL_PEFT_CONFIG_CLASSES": rows.classes(),
    "MULTIPLE_ACTIVE_ADAPTERS_TEST_CASES": rows.active_rows(),
    "MIXED_ADAPTER_TEST_CASES": rows.mixed_rows(),
}
for name, values in ROWS.items():
    getattr(custom, name)[:] = values


def pytest_addoption(parser: pytest.Parser) -> None:
    """Accept the option that PEFT's own conftest defines."""
    parser.addoption("--regression", action="store_true", default=False)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep what runs a method of rankwise."""
    kept = [item for item in items if _ours(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept
    for item in kept:
        for (method, start), reason in rows.NO_TEST.items():
            if item.name.startswith(start) and method in _methods(item):
                item.add_marker(pytest.mark.skip(reason=f"{method}: {reason}"))
        for (model, start), reason in rows.NO_TEST_ON.items():
            if item.name.startswith(start) and f" {model} " in item.name:
                item.add_marker(pytest.mark.skip(reason=f"{model}: {reason}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the rows that are not there."""
    for line in rows.left_out():
        terminalreporter.write_line(f"left out {line}")


def _ours(item: pytest.Item) -> bool:
    return bool(_methods(item))


def _methods(item: pytest.Item) -> set[str]:
    """The methods of rankwise among a test's arguments."""
    arguments = getattr(item, "callspec", None)
    values = [] if arguments is None else arguments.params.values()
    kinds = [value if isinstance(value, type) else type(value) for value in values]
    return {kind.method_class.__name__.lower() for kind in kinds if issubclass(kind, RankwiseConfig)}

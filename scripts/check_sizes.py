# SPDX-License-Identifier: Apache-2.0
"""Hold the house rules that no linter knows: file length, number of warnings, and no code run from data.

A Python file has at most 400 lines, the package calls `warnings.warn` at most 10 times, and nothing in it can execute
what it reads: no pickle, eval, exec, `__import__` or torch.load. Names are looked for in the syntax tree, so comments
and docstrings are free. What it does not do: judge style (ruff), types (pyright) or imports (lint-imports).
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("src", "tests", "scripts", "benchmarks", "examples")
LINE_LIMIT = 400
WARNING_LIMIT = 10
FORBIDDEN_NAMES = {"eval", "exec", "__import__"}
FORBIDDEN_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
FORBIDDEN_ATTRIBUTES = {("torch", "load"), ("builtins", "eval"), ("builtins", "exec"), ("builtins", "__import__")}


def main() -> int:
    """Print every breach with its place and return 1 if there is one, else 0."""
    breaches = [*_long_files(), *_package_breaches()]
    print("\n".join(breaches) if breaches else "check_sizes: no breach")
    return 1 if breaches else 0


def _long_files() -> Iterator[str]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            if lines > LINE_LIMIT:
                yield f"{path.relative_to(ROOT)}: {lines} lines, at most {LINE_LIMIT}: split it by idea"


def _package_breaches() -> Iterator[str]:
    warnings: list[str] = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
            place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if _is_warning(node):
                warnings.append(place)
            elif found := _forbidden(node):
                yield f"{place}: {found} can run code that comes from data; the package must not hold it"
    if len(warnings) > WARNING_LIMIT:
        yield f"{len(warnings)} calls of warnings.warn, at most {WARNING_LIMIT}: refuse instead ({', '.join(warnings)})"


def _is_warning(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "warnings" and any(alias.name == "warn" for alias in node.names)
    return isinstance(node, ast.Call) and _dotted(node.func) == ("warnings", "warn")


def _forbidden(node: ast.AST) -> str | None:
    if isinstance(node, ast.Import):
        return next((alias.name for alias in node.names if alias.name.split(".")[0] in FORBIDDEN_MODULES), None)
    if isinstance(node, ast.ImportFrom):
        module = (node.module or "").split(".")[0]
        if module in FORBIDDEN_MODULES:
            return module
        return next((f"{module}.{a.name}" for a in node.names if (module, a.name) in FORBIDDEN_ATTRIBUTES), None)
    if isinstance(node, ast.Name) and node.id in FORBIDDEN_NAMES:
        return node.id
    if isinstance(node, ast.Attribute) and _dotted(node) in FORBIDDEN_ATTRIBUTES:
        return ".".join(_dotted(node))
    return None


def _dotted(node: ast.AST) -> tuple[str, ...]:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return (node.value.id, node.attr)
    return ()


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""Question and answer pairs from the running Python's own standard library.

    user:       What does this function from the Python module textwrap do?    def dedent(text)
    assistant:  Remove any common leading whitespace from every line in `text`.

The answer is the first paragraph of the docstring. Source files are parsed, never imported. A module's pairs are all in
training or all held out, decided by the hash of its top-level name, so the held-out questions come from modules that
training has not seen. The same Python gives the same pairs.
"""

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from rankwise.recipes.errors import DataError
from rankwise.recipes.examples import Dialog

TRAIN, HELD_OUT = 384, 48  # about three minutes of training for a model of 135M parameters on two CPU cores
_PER_MODULE = 8  # so that no large module outweighs the others
_LONGEST_SIGNATURE, _ANSWER = 100, (24, 200)  # characters
_LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "antigravity", "this"}


def stdlib_pairs(library: Path | None = None, train: int = TRAIN, held_out: int = HELD_OUT) -> tuple[list[Dialog], ...]:
    """Pairs to train on and pairs held out.

    Args:
        library: the folder of the standard library's source; None for the running Python's.
        train: at most this many pairs to train on.
        held_out: at most this many pairs held out.

    Returns:
        The training pairs and the held-out pairs, each a short dialog.

    Raises:
        DataError: if the folder holds no Python source with docstrings (some Pythons come without it).
    """
    folder = library or Path(sysconfig.get_path("stdlib"))
    sides: tuple[list[Dialog], list[Dialog]] = ([], [])
    wanted = (train, held_out)
    for module, path in _modules(folder):
        side = _is_held_out(module)
        if len(sides[side]) < wanted[side]:
            sides[side].extend(_pairs(path, module)[: wanted[side] - len(sides[side])])
    if not all(sides):
        raise DataError(f"no docstrings found under {folder}: this Python has no source files; pass a file as DATA.")
    return sides


def _is_held_out(module: str) -> bool:
    return _hash(module.split(".", maxsplit=1)[0])[0] in "01"  # one module of eight


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _modules(folder: Path) -> list[tuple[str, Path]]:
    """The public modules of the library with their files, in an order that only their names decide."""
    found = {}
    for name in sys.stdlib_module_names - _LEFT_OUT:
        for path in (folder / f"{name}.py", *(folder / name).rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            if path.is_file() and not _LEFT_OUT & set(parts) and not any(part[0] == "_" for part in parts):
                found[".".join(parts)] = path
    return sorted(found.items(), key=lambda entry: _hash(entry[0]))


def _pairs(path: Path, module: str) -> list[Dialog]:
    pairs = dict(_documented(ast.parse(path.read_bytes(), filename=str(path)), module))
    dialogs = [Dialog((("user", question), ("assistant", answer)), 0, module) for question, answer in pairs.items()]
    return sorted(dialogs, key=lambda dialog: _hash(dialog.messages[0][1]))[:_PER_MODULE]


def _documented(tree: ast.Module, module: str) -> Iterator[tuple[str, str]]:
    for owner, node in _functions(tree):
        answer = _first_paragraph(ast.get_docstring(node))
        signature = f"def {node.name}({ast.unparse(node.args)})"
        if len(signature) > _LONGEST_SIGNATURE or not _ANSWER[0] <= len(answer) <= _ANSWER[1]:
            continue
        what = f"method of the class {owner} in" if owner else "function from"
        yield f"What does this {what} the Python module {module} do?\n\n{signature}", answer


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield "", node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            inner = (child for child in node.body if isinstance(child, ast.FunctionDef))
            yield from ((node.name, child) for child in inner if not child.name.startswith("_"))


def _first_paragraph(docstring: str | None) -> str:
    return " ".join((docstring or "").strip().split("\n\n")[0].split())

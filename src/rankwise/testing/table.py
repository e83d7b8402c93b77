# SPDX-License-Identifier: Apache-2.0
"""The contract as a table: one row a method, one column a kind of target or a feature.

A kind's column says yes if every feature works on that kind, a feature's column if it works on every kind that the
method can be put on. Where a cell is empty, a letter leads to the reason. The table is made from the grid, not from a
run of the tests; the tests hold it to what happens.
"""

from collections.abc import Callable, Sequence

from rankwise.core.method import methods
from rankwise.testing.grid import EMPTY, FEATURES, Empty, reason
from rankwise.testing.kinds import KINDS

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def contract_table() -> str:
    """The table as text: the kinds, the features, and the reasons for the cells with a letter.

    Example:
        >>> from rankwise.testing.table import contract_table
        >>> print(contract_table().splitlines()[0])
        Kinds of target
    """
    notes: dict[str, str] = {}
    kinds = [kind.name for kind in KINDS]
    by_kind = _block("Kinds of target", kinds, lambda method, kind: _letters(method, [kind], list(FEATURES), notes))
    titles = [f"{name}: {title}" for name, title in FEATURES.items()]
    by_feature = _block("Features", titles, lambda method, title: _of_feature(method, title.partition(":")[0], notes))
    reasons = [f"  {letter}  {text}" for text, letter in notes.items()]
    return "\n".join([*by_kind, "", *by_feature, *(["", "Empty cells", *reasons] if reasons else [])])


def _block(title: str, columns: Sequence[str], entry: Callable[[str, str], str]) -> list[str]:
    """A legend of numbered columns, and a row for each method."""
    names = list(methods())
    rows = [[entry(name, column) for column in columns] for name in names]
    first, width = max(map(len, names)), max(3, *(len(cell) for row in rows for cell in row)) + 1
    legend = [f"  {number:2d}  {column}" for number, column in enumerate(columns, start=1)]
    head = " " * first + "".join(str(number).rjust(width) for number in range(1, len(columns) + 1))
    lines = ["".join(cell.rjust(width) for cell in row) for row in rows]
    return [title, *legend, head, *(name.ljust(first) + line for name, line in zip(names, lines, strict=True))]


def _of_feature(method: str, feature: str, notes: dict[str, str]) -> str:
    """The entry of one feature, over the kinds that have any."""
    found = [(kind.name, reason(method, kind.name, feature)) for kind in KINDS]
    kinds = [kind for kind, one in found if one is None or one.feature != "*"]
    return _letters(method, kinds, [feature], notes)


def _letters(method: str, kinds: Sequence[str], features: Sequence[str], notes: dict[str, str]) -> str:
    """The letters of the reasons why some of these cells are empty, or yes."""
    found = [reason(method, kind, feature) for kind in kinds for feature in features]
    texts = dict.fromkeys(_sentence(one) for one in found if one is not None)
    return ",".join(notes.setdefault(text, _LETTERS[len(notes)]) for text in texts) or "yes"


def _sentence(empty: Empty) -> str:
    """What is empty and why; one sentence for all entries with the same reason."""
    alike = [one for one in EMPTY if one.reason == empty.reason]
    features = dict.fromkeys("every feature" if one.feature == "*" else one.feature for one in alike)
    names = dict.fromkeys("every method" if one.method == "*" else one.method for one in alike)
    kinds = dict.fromkeys("every kind" if one.kind == "*" else one.kind for one in alike)
    return f"{', '.join(features)} of {', '.join(names)} on {', '.join(kinds)}: {empty.reason}"

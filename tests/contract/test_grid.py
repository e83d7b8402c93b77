# SPDX-License-Identifier: Apache-2.0
"""The grid itself: it is full, its reasons are current, and its table has no unexplained hole."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from rankwise import methods
from rankwise.testing.grid import EMPTY, FEATURES, Cell, cells, reason, tiny
from rankwise.testing.kinds import KINDS
from rankwise.testing.table import contract_table

CHECKS = 60  # at least so many filled cells for each method


def test_every_method_has_enough_checks():
    for name in methods():
        filled = [(k.name, f) for k in KINDS for f in FEATURES if reason(name, k.name, f) is None]
        kinds = {kind for kind, _ in filled}  # all that some methods are defined on are two
        assert len(filled) >= min(CHECKS, len(kinds) * len(FEATURES)) > len(FEATURES), name


def test_every_feature_has_a_test():
    sources = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    tested = set(re.findall(r'pytest\.mark\.feature\("(\w+)"\)', sources))
    assert tested == set(FEATURES)


def test_every_reason_belongs_to_a_cell():
    allowed = ({*methods(), "*"}, {*(kind.name for kind in KINDS), "*"}, {*FEATURES, "*"})
    for one in EMPTY:
        for name, known in zip((one.method, one.kind, one.feature), allowed, strict=True):
            assert name in known, f"{one} names {name!r}, which does not exist"
        assert len(one.reason.split()) > 3, f"{one} gives no reason in words"


def test_an_empty_cell_must_be_refused_for_its_reason():
    empty = next(cell for cell in cells("merge") if cell.empty is not None)
    with pytest.raises(AssertionError, match="must leave the table"), empty.filled_or_refused():
        pass
    with pytest.raises(AssertionError, match="not because"), empty.filled_or_refused():
        tiny(methods()["lora"]).at_least("rank", 100)
    filled = Cell(empty.method, KINDS[0], "merge")
    with pytest.raises(ValueError), filled.filled_or_refused():
        tiny(methods()["lora"]).at_least("rank", 100)


def test_the_table_has_no_unexplained_hole():
    lines = contract_table().splitlines()
    rows = [line.split() for line in lines if line.split() and line.split()[0] in methods()]
    notes = {line.split()[0]: line for line in lines[lines.index("Empty cells") + 1 :]}
    assert [row[0] for row in rows] == [*methods(), *methods()]
    assert {len(row) - 1 for row in rows} == {len(KINDS), len(FEATURES)}
    letters = {letter for row in rows for entry in row[1:] if entry != "yes" for letter in entry.split(",")}
    assert letters == set(notes)
    for one in EMPTY:
        assert any(one.reason in note for note in notes.values())


def test_kinds_are_small_and_the_same_every_time():
    for kind in KINDS:
        if kind.available:
            first, second = kind.model(), kind.model()
            output = first(kind.inputs())
            assert torch.equal(output, second(kind.inputs())), kind.name
            assert output.isfinite().all() and not torch.equal(output, first(kind.inputs(seed=2))), kind.name
            assert sum(p.numel() for p in first.parameters()) < 1000, kind.name


def test_a_tiny_method_differs_only_in_size():
    for method in methods().values():
        small, named = tiny(method), set(method.tiny)
        changed = {f.name for f in fields(method) if getattr(small, f.name) != f.default}
        assert changed <= named | {f.name for f in fields(method) if f.name.endswith("rank")}
        assert named <= {f.name for f in fields(method)}

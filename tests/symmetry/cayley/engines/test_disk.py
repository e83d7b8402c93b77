# SPDX-License-Identifier: Apache-2.0
"""The bitmap search in files: the same growth, in bounded memory, after any kill."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from rankwise.errors import CapacityError, CheckpointError
from rankwise.symmetry.cayley import Limits, graph
from rankwise.symmetry.cayley.engines import disk, folder
from rankwise.symmetry.cayley.engines.bitmap import BitmapEngine
from rankwise.symmetry.cayley.engines.chunks import Chunks
from rankwise.symmetry.cayley.engines.disk import DiskEngine

ENGINE = DiskEngine()
SCRIPT = Path(__file__).with_name("searching.py")


@pytest.fixture
def small_batches(monkeypatch):
    """A search in several ranges: rows are read six at a time."""
    monkeypatch.setattr(disk, "_BATCH", 6 * 5040)


class Stop(Exception):
    pass


def stop_at(distance):
    def report(layer):
        if layer.distance == distance:
            raise Stop

    return report


@pytest.mark.parametrize(("name", "n"), [("lrx", 9), ("lx", 9), ("top_spin", 9), ("pancake", 7)])
def test_growth_is_that_of_the_bitmaps_in_memory(name, n, tmp_path, small_batches):
    one = graph(name, n)
    limits = Limits(memory=ENGINE.memory(one), disk=tmp_path, threads=2)
    with pytest.raises(Stop):
        ENGINE.grow(one, Limits(memory=limits.memory, disk=tmp_path, report=stop_at(4)))
    found, expected = ENGINE.grow(one, limits), BitmapEngine().grow(one, Limits())
    assert found.layers == expected.layers
    assert found.memory <= limits.memory
    assert sorted(found.antipodes.tolist()) == sorted(expected.antipodes.tolist())
    assert ENGINE.grow(one, limits).layers == expected.layers  # a finished folder answers at once


def test_a_killed_search_goes_on(tmp_path):
    clock, kills = random.Random(0), 0
    expected = BitmapEngine().grow(graph("lrx", 9), Limits()).layers
    for _ in range(6):
        with subprocess.Popen([sys.executable, SCRIPT, tmp_path], stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(clock.uniform(0.02, 0.25))
            kills += process.poll() is None
            process.kill()
        if (tmp_path / "search.json").exists():
            layers = json.loads((tmp_path / "search.json").read_text())["layers"]
            assert tuple(layers) == expected[: len(layers)]
    assert kills > 0
    assert ENGINE.grow(graph("lrx", 9), Limits(disk=tmp_path)).layers == expected


@pytest.mark.parametrize("phase", ["reach", "add", "empty"])
def test_every_write_may_be_the_last(phase, tmp_path, monkeypatch, small_batches):
    one, limits = graph("top_spin", 9), Limits(disk=tmp_path, threads=1)
    expected = BitmapEngine().grow(one, Limits()).layers
    store, count = folder.Folder._store, 0

    def stored_then_killed(self):
        nonlocal count
        store(self)
        count += self.phase == phase
        if count % 3 == 1 and self.phase == phase:
            raise Stop

    monkeypatch.setattr(folder.Folder, "_store", stored_then_killed)
    for _ in range(200):
        try:
            assert ENGINE.grow(one, limits).layers == expected
            break
        except Stop:
            continue
    assert count > 0


def test_a_folder_of_another_search_is_refused(tmp_path):
    ENGINE.grow(graph("lrx", 6), Limits(disk=tmp_path))
    with pytest.raises(CheckpointError, match="holds the search of other generators"):
        ENGINE.grow(graph("lx", 6), Limits(disk=tmp_path))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "search.json").write_text("{"), "is damaged"),
        (lambda path: (path / "search.json").write_text("[]"), "is damaged"),
        (lambda path: (path / "visited.bits").write_bytes(b"short"), "must be a file of 45360 bytes"),
        (lambda path: (path / "layer1.flags").unlink(), "must be a file of 9 bytes"),
        (lambda path: np.full(5670, 255, dtype=np.uint64).tofile(path / "visited.bits"), "bits for"),
    ],
)
def test_damage_is_found_and_the_folder_left_as_it_is(damage, message, tmp_path):
    with pytest.raises(Stop):
        ENGINE.grow(graph("lrx", 9), Limits(disk=tmp_path, report=stop_at(10)))
    damage(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(CheckpointError, match=message):
        ENGINE.grow(graph("lrx", 9), Limits(disk=tmp_path))
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_a_newer_format_is_refused(tmp_path):
    ENGINE.grow(graph("lrx", 5), Limits(disk=tmp_path))
    content = json.loads((tmp_path / "search.json").read_text())
    (tmp_path / "search.json").write_text(json.dumps(content | {"format": 2}))
    with pytest.raises(CheckpointError, match="format 2, this version reads 1"):
        ENGINE.grow(graph("lrx", 5), Limits(disk=tmp_path))


def test_a_full_disk_and_a_missing_folder_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(CapacityError, match="give a folder"):
        ENGINE.grow(graph("lrx", 5), Limits())
    assert Chunks(graph("lrx", 16)).bitmap_bytes * 3 > 7e12
    with pytest.raises(CapacityError, match=r"needs 7.85e\+03 GB on disk"):
        folder.Folder.opened(tmp_path / "new", Chunks(graph("lrx", 16)))
    assert not list((tmp_path / "new").iterdir())

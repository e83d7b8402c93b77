# SPDX-License-Identifier: Apache-2.0
import json
import subprocess
import sys

import pytest

import symmetry_sharded
from rankwise.errors import StateError
from rankwise.symmetry.cayley.engines.frontier import FrontierEngine
from rankwise.symmetry.cayley.engines.sharded import sharded_growth
from rankwise.symmetry.cayley.families import lrx
from rankwise.symmetry.cayley.result import Limits


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> list[dict[str, dict[str, list]]]:
    """What each of three processes found, by number of processes and case; started once for all tests."""
    folder = tmp_path_factory.mktemp("sharded")
    subprocess.run([sys.executable, symmetry_sharded.__file__, folder], check=True, timeout=200)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(3)]


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("name", symmetry_sharded.CASES)
def test_equal_to_one_process(found, name, world):
    case, max_layers = symmetry_sharded.CASES[name]
    alone = FrontierEngine().grow(case, Limits(memory=2**30, max_layers=max_layers))
    for rank in range(world):
        layers, complete, method, last = found[rank][str(world)][name]
        assert tuple(layers) == alone.layers
        assert complete == alone.complete
        assert method == f"frontier shared by {world} processes"
        if alone.last_layer is None:
            assert last is None
        else:
            assert sorted(last) == sorted(alone.last_layer.tolist())


@pytest.mark.parametrize("world", [2, 3])
def test_all_stop_if_one_has_too_little_memory(found, world):
    for rank in range(world):
        kind, message = found[rank][str(world)]["memory"]
        assert kind == "CapacityError"
        assert "The growth so far is 1, 3, 6" in message
        assert ("in process 1, and 40000 are allowed" if rank == 1 else "process 1 cannot go on") in message


@pytest.mark.parametrize("world", [2, 3])
def test_all_stop_if_entries_leave_64_bits(found, world):
    kinds = [found[rank][str(world)]["overflow"] for rank in range(world)]
    assert {kind for kind, _ in kinds} == {"SymmetryError"}
    assert sum("would leave 64 bits" in message for _, message in kinds) == 1
    assert sum("its own message says why" in message for _, message in kinds) == world - 1


def test_without_a_process_group_it_says_so():
    with pytest.raises(StateError, match="There is no process group"):
        sharded_growth(lrx(4), Limits(memory=2**20))

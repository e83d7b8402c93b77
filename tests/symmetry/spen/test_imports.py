# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

import rankwise.symmetry.spen as package

SCRIPT = """
import sys
from rankwise.symmetry.spen import EquivariantLinear
assert "torch_geometric" not in sys.modules
sys.modules["torch_geometric"] = None
try:
    from rankwise.symmetry.spen import SPEN
except ModuleNotFoundError as error:
    assert "pip install 'rankwise[graph]'" in str(error) and error.name.startswith("torch_geometric")
    print("refused")
"""


def test_the_maps_need_no_torch_geometric_and_graphs_say_what_is_missing():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"


def test_every_public_name_is_there():
    assert all(getattr(package, name) is not None for name in package.__all__)
    assert not hasattr(package, "Nothing")

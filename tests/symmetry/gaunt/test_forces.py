# SPDX-License-Identifier: Apache-2.0
"""The network of examples/equivariant_forces.py, on synthetic molecules."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from rankwise.symmetry.gaunt import Irreps
from rankwise.testing.tolerance import assert_close
from symmetry.gaunt.peer import in_float64, random_irreps, rotation

PATH = Path(__file__).parents[3] / "examples" / "equivariant_forces.py"


@pytest.fixture(scope="module")
def forces():
    spec = importlib.util.spec_from_file_location("equivariant_forces", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def network(forces, name):
    torch.manual_seed(0)
    with in_float64():
        return forces.Network(3, getattr(forces, name), 2, channels=4)


@pytest.mark.parametrize("name", ["gaunt", "clebsch_gordan", "Couplings"])
@pytest.mark.parametrize("sign", [1, -1])
def test_energies_are_invariant_and_forces_turn(forces, name, sign):
    data, turn = forces.synthetic(2, atoms=6), rotation(0, sign)
    with in_float64():
        model = network(forces, name)
        energies, there = model.forces(data.kinds, data.positions)
        same, turned = model.forces(data.kinds, data.positions @ turn.T + 1.0)
    assert_close(same, energies)
    assert_close(turned, there @ turn.T)


def test_forces_are_the_slope_of_the_energy(forces):
    data = forces.synthetic(1, atoms=5)
    with in_float64():
        model = network(forces, "gaunt")
        assert torch.autograd.gradcheck(lambda positions: model(data.kinds, positions), data.positions.requires_grad_())


def test_synthetic_forces_have_no_sum_and_no_torque(forces):
    data = forces.synthetic(3, atoms=6)
    assert data.forces.sum(1).abs().max() < 1e-10  # no net force
    torque = torch.linalg.cross(data.positions, data.forces).sum(1)
    assert torque.abs().max() < 1e-9


def test_our_own_clebsch_gordan_products_span_those_of_e3nn(forces):
    irreps = Irreps.functions(2, mul=3)
    with in_float64():
        ours, theirs = forces.Couplings(irreps, irreps, irreps), forces.clebsch_gordan(irreps, irreps, irreps)
        assert len(ours.paths) == len(theirs.instructions)
        with torch.no_grad():
            views = theirs.weight_views(yield_instruction=True)
            for weight, (_, path, view) in zip(ours.weight, views, strict=True):
                degree = irreps.blocks[path.i_out].degree
                weight.copy_(view.flatten() * path.path_weight / (2 * degree + 1) ** 0.5)
        x, y = (random_irreps(irreps, 4, torch.Generator().manual_seed(seed)) for seed in (0, 1))
        assert_close(ours(x, y), theirs(x, y))


@pytest.mark.parametrize("name", ["gaunt", "clebsch_gordan"])
def test_both_networks_learn(forces, name):
    few, _, _ = forces.prepared(forces.synthetic(3, atoms=5), 3, 0)
    torch.manual_seed(0)
    model = forces.Network(3, getattr(forces, name), 1, channels=4)
    forces.train(model, few, 80, 3, seed=0)
    assert forces.errors(model, few)[1] < 0.7 * few.forces.abs().mean().item()


def test_files_of_3bpa_are_read(forces, tmp_path):
    frame = '3\nLattice="5 0 0" energy=-1.5 pbc="F F F"\nC 0 0 0 1 2 3\nH 1 0 0 0 0 0\nO 0 1 0 0 -1 0\n'
    (tmp_path / "train.xyz").write_text(frame * 2)
    data = forces.read_xyz(tmp_path / "train.xyz")
    assert data.kinds.tolist() == [0, 1, 2]
    assert data.energies.tolist() == [-1.5, -1.5]
    assert data.positions[1, 2].tolist() == [0, 1, 0]
    assert data.forces[0, 0].tolist() == [1, 2, 3]

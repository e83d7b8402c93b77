# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise.errors import CapacityError, SymmetryError
from rankwise.symmetry.spen import EquivariantLinear, MixedLinear

ORDERS = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (2, 2), (3, 0), (0, 3), (1, 3), (3, 1)]


def perturbed(module, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return module


def linear(k, order, d_in=2, d_out=3):
    return perturbed(EquivariantLinear(k, order, d_in, d_out, torch.Generator().manual_seed(0)))


def act(x, order, permutation):
    for axis in range(order):
        x = x.index_select(1 + axis, permutation)
    return x


def matrices(k, order, n):
    """Every single map of the module as a matrix [n^l, n^k]."""
    module = linear(k, order, 1, 1)
    basis = torch.eye(n**k, dtype=torch.float64).view(n**k, *(n,) * k, 1)
    module.bias.data.zero_()
    found = []
    for weight in module.weights:
        for entry in itertools.product(*map(range, weight.shape)):
            for other in module.weights:
                other.data.zero_()
            weight.data[entry] = 1
            found.append(module(basis, n).detach().reshape(n**k, n**order).t())
    return torch.stack(found)


def projector(indices, n):
    """The mean over S_n of the permutation matrices on tensors with a number of indices."""
    size = n**indices
    total = torch.zeros(size, size, dtype=torch.float64)
    group = list(itertools.permutations(range(n)))
    for permutation in group:
        one = torch.eye(n, dtype=torch.float64)[list(permutation)]
        whole = torch.ones(1, 1, dtype=torch.float64)
        for _ in range(indices):
            whole = torch.kron(whole, one)
        total += whole
    return total / len(group)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("orders", ORDERS)
def test_maps_span_exactly_what_the_group_average_projects_on(orders, n):
    k, order = orders
    project = projector(k + order, n)
    maps = matrices(k, order, n).flatten(1)
    rank = int(torch.linalg.matrix_rank(project))
    assert int(torch.linalg.matrix_rank(maps)) == rank
    assert (maps @ project - maps).abs().max() < 1e-12  # a permutation matrix is real, so P is symmetric
    if n >= k + order:
        assert len(maps) == rank == linear(k, order).maps


@pytest.mark.parametrize(
    ("orders", "ranks"), [((2, 2), (1, 8, 14, 15, 15)), ((2, 1), (1, 4, 5, 5, 5)), ((1, 1), (1, 2, 2, 2, 2))]
)
def test_known_ranks(orders, ranks):
    assert tuple(int(torch.linalg.matrix_rank(matrices(*orders, n).flatten(1))) for n in (1, 2, 3, 4, 5)) == ranks


def test_number_of_maps_is_a_bell_number():
    bell = [1, 1, 2, 5, 15, 52, 203]
    for k, order in itertools.product(range(4), range(4)):
        assert linear(k, order).maps == bell[k + order]


def by_hand(k, order, n):
    """The usual list: deltas and ones whose letters are outputs i, j and inputs a, b, over a power of n."""
    delta, one = torch.eye(n, dtype=torch.float64), torch.ones(n, dtype=torch.float64)
    written = {
        (2, 2): "ij,ia,ib ij,ab/1 ij,ia,b/1 ij,ib,a/1 ij,a,b/2 ib,a,j/1 ia,b,j/1 jb,a,i/1 ja,b,i/1 ia,jb ib,ja "
        "ia,ib,j ja,jb,i ab,i,j/1 a,b,i,j/2",
        (2, 1): "ia,ib ab,i/1 ia,b/1 ib,a/1 a,b,i/2",
        (1, 2): "ij,ia ij,a/1 ja,i ia,j a,i,j/1",
        (1, 1): "ia a,i/1",
        (2, 0): "ab/1 a,b/2",
        (1, 0): "a/1",
    }[k, order]
    found = []
    for one_map in written.split():
        factors, _, power = one_map.partition("/")
        tensors = [delta if len(factor) == 2 else one for factor in factors.split(",")]
        whole = torch.einsum(f"{factors}->{'ij'[:order]}{'ab'[:k]}", tensors)
        found.append(whole.reshape(n**order, n**k) / n ** int(power or 0))
    return torch.stack(found)


@pytest.mark.parametrize("n", [4, 5])
@pytest.mark.parametrize("orders", [(2, 2), (2, 1), (1, 2), (1, 1), (2, 0), (1, 0)])
def test_maps_are_the_known_list(orders, n):
    ours, known = matrices(*orders, n).flatten(1), by_hand(*orders, n).flatten(1)
    distances = torch.cdist(ours, known, p=1)
    assert (distances < 1e-12).sum(dim=0).tolist() == [1] * len(known)
    assert (distances < 1e-12).sum(dim=1).tolist() == [1] * len(known)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([*ORDERS, (2, 3), (3, 2)]), st.integers(1, 6), st.integers(0, 10**6))
def test_equivariant(orders, n, seed):
    k, order = orders
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, *(n,) * k, 2, generator=generator, dtype=torch.float64)
    permutation = torch.randperm(n, generator=generator)
    module = linear(k, order)
    difference = module(act(x, k, permutation), n) - act(module(x, n), order, permutation)
    assert difference.abs().max() < 1e-12


@pytest.mark.parametrize("orders", [(2, 2), (1, 2), (2, 1), (0, 2), (2, 0), (3, 1)])
def test_gradients(orders):
    k, order = orders
    module = linear(k, order, 1, 2)
    x = torch.randn(1, *(3,) * k, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    parameters = dict(module.named_parameters())

    def call(x, *values):
        return torch.func.functional_call(module, dict(zip(parameters, values, strict=True)), (x, 3))

    inputs = (x.requires_grad_(), *parameters.values())
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


def test_mixed_orders_are_their_maps_side_by_side():
    mixed = perturbed(MixedLinear((2, 1), (2, 1, 0), 2, 3, torch.Generator().manual_seed(0)))
    generator = torch.Generator().manual_seed(1)
    x = {
        2: torch.randn(4, 5, 5, 2, generator=generator).double(),
        1: torch.randn(4, 5, 2, generator=generator).double(),
    }
    for order, found in mixed(x, 5).items():
        alone = torch.cat([mixed.maps[f"2_to_{order}"](x[2]), mixed.maps[f"1_to_{order}"](x[1])], dim=-1)
        torch.testing.assert_close(found, alone, rtol=0, atol=1e-12)


def test_refusals():
    generator = torch.Generator()
    with pytest.raises(SymmetryError, match="counts indices"):
        EquivariantLinear(-1, 2, 1, 1, generator)
    with pytest.raises(SymmetryError, match="at least one"):
        EquivariantLinear(1, 2, 0, 1, generator)
    with pytest.raises(CapacityError, match=r"Bell\(9\).*4,140"):
        EquivariantLinear(4, 5, 1, 1, generator)
    with pytest.raises(SymmetryError, match=r"takes \[\.\.\., n, n, 2\]"):
        linear(2, 2)(torch.zeros(1, 3, 4, 2))
    with pytest.raises(SymmetryError, match="size=4"):
        linear(1, 2)(torch.zeros(1, 3, 2), 4)
    with pytest.raises(SymmetryError, match="give size=n"):
        linear(0, 2)(torch.zeros(1, 2).double())

# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankwise.errors import SymmetryError
from rankwise.symmetry.spen import EgoNetworks, Plan, compiled, indexed
from rankwise.symmetry.spen.contraction import contract, embed
from rankwise.symmetry.spen.entries import Entries
from rankwise.symmetry.spen.tensors import contracted, embedded
from symmetry.spen.cases import random_data


def entries(sizes, rows, seed=0):
    """Networks whose entries stand for any of the rows, some of them more than once."""
    places = torch.randint(rows, (sum(size**2 for size in sizes),), generator=torch.Generator().manual_seed(seed))
    return Entries(torch.tensor(sizes), places, rows)


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def parts(found, d, copies):
    networks, nodes, places = len(found.sizes), int(found.sizes.sum()), len(found.places)
    return tuple(draw(n, k * d, seed=k) for n, k in ((networks, 2), (nodes, 3), (places, copies)))


SIZES = st.lists(st.integers(1, 6), min_size=1, max_size=6)


@settings(max_examples=30, deadline=None)
@given(SIZES, st.integers(1, 20), st.integers(0, 2))
def test_contractions_are_those_of_every_network_by_itself(sizes, d, copies):
    lists = entries(sizes, 7)
    table = draw(7, d)
    scalars, vectors, values = contract(table, lists, copies)
    dense = [
        part.view(m, m, d) for m, part in zip(sizes, table[lists.places].split([m * m for m in sizes]), strict=True)
    ]
    torch.testing.assert_close(scalars, torch.stack([contracted(x, 2, 0) for x in dense]))
    torch.testing.assert_close(vectors, torch.cat([contracted(x, 2, 1) for x in dense]))
    both = [torch.cat([x, x.transpose(0, 1)], dim=-1)[..., : copies * d].flatten(0, 1) for x in dense]
    assert torch.equal(values, torch.cat(both))


@settings(max_examples=30, deadline=None)
@given(SIZES, st.integers(1, 20), st.sampled_from([0, 2]))
def test_embeddings_are_those_of_every_network_by_itself(sizes, d, copies):
    lists = entries(sizes, 7)
    given_parts = parts(lists, d, copies)
    expected = torch.zeros(7, d, dtype=torch.float64)
    splits = [part.split([m**k for m in sizes]) for k, part in enumerate(given_parts)]
    first = 0
    for number, m in enumerate(sizes):
        shapes = [split[number].view(*(m,) * k, -1) for k, split in enumerate(splits)]
        dense = embedded(shapes if copies else shapes[:2], 2, m)
        expected.index_add_(0, lists.places[first : first + m * m], dense.flatten(0, 1))
        first += m * m
    torch.testing.assert_close(embed(*given_parts, lists), expected)


@settings(max_examples=30, deadline=None)
@given(SIZES, st.integers(1, 20), st.integers(0, 2), st.booleans(), st.sampled_from([torch.float32, torch.float64]))
def test_compiled_and_indexed_agree_and_each_embedding_is_the_adjoint(sizes, d, copies, means, dtype):
    lists = entries(sizes, 7)
    table, given_parts = draw(7, d).to(dtype), tuple(part.to(dtype) for part in parts(lists, d, copies))
    found = [route.contract(table, lists, copies, means) for route in (compiled, indexed)]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    back = [route.embed(given_parts, lists, means) for route in (compiled, indexed)]
    torch.testing.assert_close(*back)
    for route, adjoint in zip(found, back, strict=True):
        products = sum((one * other).sum() for one, other in zip(route, given_parts, strict=True))
        torch.testing.assert_close(
            (adjoint * table).sum(), products, atol=1e-4 if dtype == torch.float32 else 1e-11, rtol=0
        )


@pytest.mark.parametrize("copies", [0, 1, 2])
def test_derivatives(copies):
    lists = entries([1, 3, 2], 5)
    table = draw(5, 2).requires_grad_()
    given_parts = tuple(part.requires_grad_() for part in parts(lists, 2, copies))
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(lambda x: tuple(part for part in contract(x, lists, copies) if part.numel()), (table,))
        assert check(lambda *three: embed(*three, lists), given_parts)


def test_other_dtypes_and_layouts():
    lists = entries([2, 3], 5)
    table = draw(5, 4)
    for one, other in zip(contract(table.bfloat16(), lists), contract(table, lists), strict=True):
        assert one.dtype == torch.bfloat16
        torch.testing.assert_close(one.double(), other, atol=0.05, rtol=0)
    turned = table.t().contiguous().t()
    assert all(
        torch.equal(one, other) for one, other in zip(contract(turned, lists), contract(table, lists), strict=True)
    )


def test_lists_that_do_not_fit_are_refused_before_anything_is_read():
    graph = EgoNetworks(1)(random_data(0))
    plan = Plan.of(graph)
    with pytest.raises(SymmetryError, match="3 rows of pairs"):
        plan.contracted(draw(3, 2), 2, 2)
    graph.ego_pairs = graph.ego_pairs + 1
    with pytest.raises(SymmetryError, match=r"stored pair \d+ of"):
        Plan.of(graph)

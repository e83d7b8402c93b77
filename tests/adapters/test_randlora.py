# SPDX-License-Identifier: Apache-2.0
"""RandLoRA against an explicit sum over its bases, the ranks it can reach, and what backward keeps."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from random_layers import chain, draw, moved
from rankwise import CheckpointError, LoRA, MethodError, adapt, load
from rankwise.adapters.randlora import RandLoRA
from rankwise.testing import assert_close
from rankwise.testing.layers import Experts


def by_loops(adapter, rank: int, scaling: float) -> Tensor:
    """The delta as an explicit sum over bases, from the shared buffers."""
    out, inputs = adapter.target.shape
    small, large = min(out, inputs), max(out, inputs)
    a, b = adapter.shared.a[:, :small], adapter.shared.b[:large]
    total = torch.zeros(large, small, dtype=a.dtype)
    for j in range(-(-small // rank)):
        total += b[:, j] @ torch.diag(adapter.lam[j]) @ a @ torch.diag(adapter.gam[j])
    return scaling * (total if inputs <= out else total.T)


@settings(max_examples=10, deadline=None)
@given(rank=st.integers(1, 7), out=st.integers(2, 9), inputs=st.integers(2, 9), tokens=st.integers(1, 4))
def test_the_delta_and_the_output_equal_an_explicit_sum(rank, out, inputs, tokens):
    model = chain(inputs, out)
    base = copy.deepcopy(model)
    adapter = moved(adapt(model, RandLoRA(rank=rank, alpha=5.0), ["0"])).adapters["0"]
    count = -(-min(out, inputs) // rank)
    delta = by_loops(adapter, rank, 5.0 / rank / count**0.5).detach()
    assert_close(adapter.delta(), delta)
    x = draw(tokens, inputs)
    assert_close(model(x), base(x) + x @ delta.T)
    assert sum(p.numel() for p in adapter.parameters()) == count * (rank + min(out, inputs))


def test_the_scale_is_alpha_over_rank_and_over_the_root_of_the_number_of_bases():
    def scaling(**fields) -> float:
        return adapt(chain(10, 12), RandLoRA(rank=4, **fields), ["0"]).adapters["0"].scaling

    assert scaling(alpha=6.0) == 6.0 / 4 / 3**0.5
    assert scaling() == 2 / 3**0.5
    assert scaling(alpha=6.0, scaling="peft") == 6.0 / 4


@pytest.mark.parametrize(("init", "still"), [("lambda_zero", "gam"), ("gamma_zero", "lam")])
def test_it_starts_at_the_base_and_only_what_is_zero_gets_a_gradient(init, still):
    model, x = chain(9, 6), draw(4, 9)
    base = copy.deepcopy(model)(x)
    adapter = adapt(model, RandLoRA(rank=2, init=init), ["0"]).adapters["0"]
    assert torch.equal(model(x), base)
    model(x).square().sum().backward()
    moving = "lam" if still == "gam" else "gam"
    assert bool((getattr(adapter, still).grad == 0).all())
    assert bool((getattr(adapter, moving).grad != 0).all())
    assert bool((getattr(adapter, moving) == 0).all())
    value = getattr(adapter, still)
    assert_close(value, torch.full_like(value, 1 / (6 if still == "gam" else 3)), torch.float32)


@pytest.mark.parametrize("sizes", [(12, 20), (20, 12), (12, 12)])
@pytest.mark.parametrize("rank", [3, 5])
def test_the_rank_is_full_but_r_while_all_gam_are_equal(sizes, rank):
    adapter = moved(adapt(chain(*sizes), RandLoRA(rank=rank), ["0"]), 1.0).adapters["0"]
    assert int(torch.linalg.matrix_rank(adapter.delta())) == 12
    with torch.no_grad():
        kept, lam = adapter.gam.clone(), adapter.lam.clone()
        adapter.gam.copy_(kept[:1].expand_as(kept))
        assert int(torch.linalg.matrix_rank(adapter.delta())) == rank
        adapter.gam.copy_(kept)
        adapter.lam[2:] = 0
        assert int(torch.linalg.matrix_rank(adapter.delta())) == 2 * rank
        adapter.lam.copy_(lam)


def test_the_first_step_has_rank_r_and_the_second_full_rank():
    for init, ranks in (("lambda_zero", [4, 12]), ("gamma_zero", [12, 12])):
        model = chain(12, 12)
        adaptation = adapt(model, RandLoRA(rank=4, init=init), ["0"])
        optimizer = torch.optim.SGD(adaptation.parameters(), lr=0.01)
        for step, rank in enumerate(ranks):
            optimizer.zero_grad()
            (model(draw(64, 12, seed=step)) - draw(64, 12, seed=50)).square().sum().backward()
            optimizer.step()
            assert int(torch.linalg.matrix_rank(adaptation.adapters["0"].delta(), rtol=1e-11)) == rank


def test_one_basis_is_a_pair_of_random_matrices_with_two_diagonals():
    adapter = moved(adapt(chain(6, 8), RandLoRA(rank=6, alpha=6.0), ["0"])).adapters["0"]
    a, b = adapter.shared.a, adapter.shared.b[:, 0]
    assert_close(adapter.delta(), b @ torch.diag(adapter.lam[0]) @ a @ torch.diag(adapter.gam[0]))


@pytest.mark.parametrize("sizes", [(5, 7), (7, 5)])
@pytest.mark.parametrize("pairing", ["paper", "peft"])
def test_the_gradients_are_right_to_second_order(sizes, pairing):
    model = chain(*sizes)
    adaptation = moved(adapt(model, RandLoRA(rank=2, pairing=pairing), ["0"]))
    x = draw(3, sizes[0]).requires_grad_()
    values = [x, *adaptation.parameters()]
    assert torch.autograd.gradcheck(lambda x, *_: model(x), values)
    assert torch.autograd.gradgradcheck(lambda x, *_: model(x), values)
    assert torch.autograd.gradcheck(lambda *_: adaptation.adapters["0"].delta(), values[1:])


@pytest.mark.parametrize("sizes", [(24, 40), (40, 24)])
def test_backward_keeps_nothing_of_the_size_of_a_product(sizes):
    model = chain(*sizes)
    adaptation = moved(adapt(model, RandLoRA(rank=4), ["0"]))
    shared = {buffer.untyped_storage().data_ptr() for buffer in adaptation.shared.buffers()}
    kept = []

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in {*shared, model[0].weight.untyped_storage().data_ptr()}:
            kept.append(tuple(tensor.shape))
        return tensor

    allowed = {(3, sizes[0]), (6, 4), (6, 24), ()}  # the input, lam, gam
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(draw(3, sizes[0]).requires_grad_())
        assert {(3, sizes[0]), (6, 4), (6, 24)} <= set(kept) <= allowed
        kept.clear()
        adaptation.adapters["0"].factors()
        assert set(kept) <= allowed


@pytest.mark.parametrize("basis", ["uniform", "normal", "sparse", "very_sparse", "bfloat16"])
def test_the_bases_have_unit_deviation_and_the_expected_zeros(basis):
    shared = adapt(chain(100, 120), RandLoRA(rank=10, basis=basis), ["0"]).shared
    zeros = {"sparse": 2 / 3, "very_sparse": 1 - 1 / 10}.get(basis, 0.001 if basis == "bfloat16" else 0.0)
    dtype = torch.bfloat16 if basis == "bfloat16" else torch.float32
    for buffer in (shared.a, shared.b):
        assert_close(buffer.std(), torch.ones(()), dtype)
        share = float((buffer == 0).double().mean())
        assert abs(share - zeros) < 5 * (zeros * (1 - zeros) / buffer.numel()) ** 0.5 + 1e-9
        if basis.endswith("sparse"):
            assert len(buffer.abs().unique()) == 2
        if basis in ("uniform", "bfloat16"):
            assert float(buffer.abs().max()) < 3**0.5 * 1.05


def test_layers_of_all_sizes_slice_the_same_bases_which_the_seed_alone_decides():
    model = chain(6, 9, 4, 4)
    adaptation = adapt(model, RandLoRA(rank=2), seed=5)
    shared = adaptation.shared
    assert shared.a.shape == (2, 9)
    assert shared.b.shape == (9, 5, 2)
    for adapter in adaptation.adapters.values():
        left, right = adapter.factors()
        frozen = left if adapter.wide else right
        assert frozen.untyped_storage().data_ptr() == shared.b.untyped_storage().data_ptr()
    torch.manual_seed(99)
    again, other = (adapt(chain(6, 9, 4, 4), RandLoRA(rank=2), seed=seed).shared for seed in (5, 6))
    assert torch.equal(again.a, shared.a) and torch.equal(again.b, shared.b)
    assert not torch.equal(other.a, shared.a) and not torch.equal(other.b, shared.b)
    buffers = [b for b in model.buffers() if b.shape == shared.b.shape]
    assert len(buffers) == 1


def test_a_checkpoint_holds_the_diagonals_and_no_basis(tmp_path):
    adaptation = moved(adapt(chain(30, 40, 20), RandLoRA(rank=5), seed=3))
    x = draw(4, 30)
    output = adaptation.model(x)
    adaptation.save(tmp_path)
    assert torch.equal(load(chain(30, 40, 20), tmp_path).model(x), output)
    numbers = sum(p.numel() for p in adaptation.parameters())
    assert (tmp_path / "adapter.safetensors").stat().st_size < 8 * (numbers + 16) + 2000


def test_other_bases_than_the_trained_ones_are_refused(tmp_path):
    adaptation = adapt(chain(6, 4), RandLoRA(rank=2))
    adaptation.shared.probe[-1] += 0.1  # as if the random stream had been another one
    adaptation.save(tmp_path)
    with pytest.raises(CheckpointError, match="other random numbers"):
        load(chain(6, 4), tmp_path)


def test_dropout_acts_on_the_updates_input_in_training_alone():
    model, x = chain(10, 8), draw(4, 10)
    adapter = moved(adapt(model, RandLoRA(rank=3, dropout=0.5), ["0"])).adapters["0"]
    base = chain(10, 8)(x)
    torch.manual_seed(7)
    output = model.train()(x)
    torch.manual_seed(7)
    assert_close(output, base + nn.functional.dropout(x, 0.5) @ adapter.delta().T)
    assert_close(model.eval()(x), base + x @ adapter.delta().T)


def test_a_stack_of_experts_has_diagonals_for_each():
    stack = Experts(3, 4, 6).double()
    adapter = moved(adapt(stack, RandLoRA(rank=3), ["up_proj"])).adapters["up_proj"]
    assert adapter.lam.shape == (3, 2, 3)
    assert adapter.gam.shape == (3, 2, 4)
    a, b = adapter.shared.a[:, :4], adapter.shared.b[:6, :2]
    expected = adapter.scaling * torch.einsum("ojk,ejk,ki,eji->eio", b, adapter.lam, a, adapter.gam)
    assert_close(adapter.delta(), expected)


def test_merging_and_conversion_to_full_rank_lora_keep_the_function():
    model, x = chain(10, 8), draw(4, 10)
    adaptation = moved(adapt(model, RandLoRA(rank=3), ["0"]))
    output = model(x)
    adaptation.merge()
    assert_close(model(x), output)
    adaptation.unmerge()
    assert_close(model(x), output)
    conversion = adaptation.convert(LoRA(rank=8))
    assert max(conversion.relative_error.values()) < 1e-12
    assert_close(model(x), output)


def test_pairing_like_peft_is_the_formula_with_the_bases_columns_in_another_order():
    adaptation = moved(adapt(chain(9, 11), RandLoRA(rank=3, pairing="peft", alpha=3.0), ["0"]))
    adapter, b = adaptation.adapters["0"], adaptation.shared.b.flatten(1)
    total = torch.zeros(11, 9, dtype=torch.float64)
    for j in range(3):
        columns = torch.stack([b[:, k * 3 + j] for k in range(3)], dim=1)
        total += columns @ torch.diag(adapter.lam[j]) @ adaptation.shared.a @ torch.diag(adapter.gam[j])
    assert_close(adapter.delta(), total / 3**0.5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": 0}, "rank must be at least 1"),
        ({"alpha": 0.0}, "alpha must be above 0"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
    ],
)
def test_fields_out_of_range_are_refused(fields, message):
    with pytest.raises(MethodError, match=message):
        RandLoRA(**fields)


@pytest.mark.parametrize(("size", "fields"), [(1, {"rank": 1}), (2, {"rank": 1, "basis": "very_sparse"})])
def test_bases_without_spread_are_refused(size, fields):
    seed = next(s for s in range(100) if float(_signs(2, s).abs().sum()) == 0)
    with pytest.raises(MethodError, match="no spread"):
        adapt(chain(size, size), RandLoRA(**fields), ["0"], seed=seed)


def _signs(small: int, seed: int) -> Tensor:
    uniform, share = torch.rand(1, small, generator=torch.Generator().manual_seed(seed)), 1 / (2 * small**0.5)
    return (uniform > 1 - share).float() - (uniform < share).float()


def test_a_rank_of_its_own_for_a_target_is_refused():
    with pytest.raises(MethodError, match="one rank for all"):
        adapt(chain(6, 6), RandLoRA(rank=2), ranks={"0": 3})


def test_it_fits_a_flat_spectrum_better_than_lora_and_a_low_rank_worse():
    errors = {}
    for name, target in {"flat": torch.linalg.qr(draw(24, 24))[0], "low": draw(24, 2) @ draw(2, 24, seed=1)}.items():
        layer = nn.Sequential(nn.Linear(24, 24, bias=False)).double()
        nn.init.zeros_(layer[0].weight)
        adaptation = adapt(layer, RandLoRA(rank=3), ["0"])
        optimizer = torch.optim.Adam(adaptation.parameters(), lr=0.03)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
        for _ in range(300):
            optimizer.zero_grad()
            error = (adaptation.adapters["0"].delta() - target).square().sum() / target.square().sum()
            error.backward()
            optimizer.step()
            schedule.step()
        errors[name] = float(error.detach())
    rank = sum(p.numel() for p in adaptation.parameters()) / 48  # what LoRA of the same size could have
    assert rank == 4.5
    assert errors["flat"] < 1 - 5 / 24 - 0.03  # the best LoRA of rank 5 leaves exactly 1 - 5 / 24
    assert errors["low"] > 0.1  # where LoRA of rank 2 leaves nothing

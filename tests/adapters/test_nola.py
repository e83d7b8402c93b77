# SPDX-License-Identifier: Apache-2.0
"""NOLA against explicit combinations of its random matrices, both published forms, and what is shared and saved."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from random_layers import chain, draw, moved
from rankwise import CheckpointError, LoRA, MethodError, adapt, load
from rankwise.adapters.nola import NOLA
from rankwise.testing import assert_close
from rankwise.testing.layers import Experts


def by_loops(adapter, rank: int) -> tuple[Tensor, Tensor]:
    """A and B of the form "gpt", one random matrix after another."""
    out, inputs = adapter.target.shape
    a, b, shared = adapter.a, adapter.b, adapter.shared
    right, left = adapter.offset.clone(), torch.zeros(out, rank, dtype=a.dtype)
    for i in range(len(a)):
        right += a[i] * shared.right[i, : rank * inputs].view(rank, inputs) / len(a) ** 0.5
    for j in range(len(b)):
        left += b[j] * shared.left[j, : out * rank].view(out, rank) / len(b) ** 0.5
    return left, right


@settings(max_examples=10, deadline=None)
@given(
    rank=st.integers(1, 3),
    out=st.integers(3, 8),
    inputs=st.integers(3, 8),
    k=st.integers(1, 9),
    k_left=st.integers(1, 9) | st.none(),
)
def test_it_is_lora_with_the_combined_factors(rank, out, inputs, k, k_left):
    model = chain(inputs, out)
    base = copy.deepcopy(model)
    adapter = moved(adapt(model, NOLA(rank=rank, k=k, k_left=k_left, alpha=5.0), ["0"])).adapters["0"]
    left, right = by_loops(adapter, rank)
    x = draw(4, inputs)
    assert_close(model(x), base(x) + 5.0 / rank * (x @ right.T) @ left.T)
    assert_close(adapter.delta(), 5.0 / rank * left @ right)
    assert {name: p.numel() for name, p in adapter.named_parameters()} == {"a": k, "b": k_left or k}


def test_it_starts_at_the_base_and_the_first_step_moves_b_alone():
    model, x = chain(6, 5), draw(4, 6)
    base = copy.deepcopy(model)(x)
    adapter = adapt(model, NOLA(rank=2, k=7), ["0"]).adapters["0"]
    assert torch.equal(model(x), base)
    model(x).square().sum().backward()
    assert bool((adapter.a.grad == 0).all())
    assert bool((adapter.b.grad != 0).all())


def test_the_gradients_are_inner_products_with_the_random_matrices():
    model, x = chain(6, 5), draw(4, 6)
    adaptation = moved(adapt(model, NOLA(rank=2, k=3, alpha=4.0), ["0"]))
    adapter = adaptation.adapters["0"]
    left, right = (factor.detach().requires_grad_() for factor in by_loops(adapter, 2))
    (x @ (model[0].weight + 2.0 * left @ right).T + model[0].bias).square().sum().backward()
    model(x).square().sum().backward()
    for i in range(3):
        matrix = adapter.shared.right[i].view(2, 6) / 3**0.5
        assert_close(adapter.a.grad[i], (right.grad * matrix).sum())
        matrix = adapter.shared.left[i].view(5, 2) / 3**0.5
        assert_close(adapter.b.grad[i], (left.grad * matrix).sum())


def test_the_delta_is_linear_in_b_and_its_rank_is_r_at_most():
    adapter = moved(adapt(chain(9, 8), NOLA(rank=3, k=20), ["0"])).adapters["0"]
    once = adapter.delta().detach()
    assert int(torch.linalg.matrix_rank(once)) == 3
    with torch.no_grad():
        adapter.b.mul_(2)
        assert_close(adapter.delta(), 2 * once)
        adapter.a.zero_()
        first = adapter.delta().clone()
        adapter.a.fill_(1.0)
        step = adapter.delta() - first
        adapter.a.fill_(2.0)
        assert_close(adapter.delta(), first + 2 * step)


def test_enough_random_matrices_reach_every_factor():
    adapter = adapt(chain(5, 4), NOLA(rank=2, k=10, k_left=8), ["0"]).adapters["0"]
    wanted_left, wanted_right = draw(4, 2, seed=1), draw(2, 5, seed=2)
    rows = adapter.shared.right / 10**0.5, adapter.shared.left / 8**0.5
    with torch.no_grad():
        adapter.a.copy_(torch.linalg.solve(rows[0].T, (wanted_right - adapter.offset).flatten()))
        adapter.b.copy_(torch.linalg.solve(rows[1].T, (wanted_left / adapter.scaling).flatten()))
        assert_close(adapter.delta() / 10, wanted_left @ wanted_right / 10, torch.float32)


def test_the_form_vit_is_that_of_separately_drawn_kaiming_matrices():
    rank, k, k_left = 2, 5, 3
    method = NOLA(rank=rank, k=k, k_left=k_left, alpha=1.0, variant="vit")
    model = chain(7, 6).float()
    base, x = copy.deepcopy(model), draw(4, 7).float()
    adapter = adapt(model, method, ["0"], seed=0).adapters["0"]
    generator = torch.Generator().manual_seed(0)
    right, left = torch.empty(k, 7, rank), torch.empty(k_left, rank, 6)
    for one in (right, left):
        nn.init.kaiming_uniform_(one, a=5**0.5, generator=generator)
    assert bool((adapter.a == 1 / k).all()) and bool((adapter.b == 1 / k_left).all())
    assert_close(model(x), base(x) + (x @ right.mean(0)) @ left.mean(0) / rank)
    with torch.no_grad():
        adapter.a.copy_(torch.linspace(-1, 2, k))
        adapter.b.copy_(torch.linspace(0.5, -1, k_left))
    right_factor = torch.einsum("i,idr->rd", adapter.a, right)
    assert_close(adapter.delta(), torch.einsum("j,jro->or", adapter.b, left) @ right_factor / rank)


def test_layers_of_all_sizes_share_their_random_numbers_which_the_seed_alone_decides():
    model = chain(6, 9, 4, 4)
    before = torch.get_rng_state()
    adaptation = adapt(model, NOLA(rank=2, k=5, k_left=3), seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert {name: tuple(b.shape) for name, b in adaptation.shared.named_buffers()} == {
        "right": (5, 18),
        "left": (3, 18),
        "probe": (16,),
    }
    assert float(adaptation.shared.right.abs().max()) <= 1
    again, other = (adapt(chain(6, 9, 4, 4), NOLA(rank=2, k=5, k_left=3), seed=seed) for seed in (5, 6))
    for name, buffer in adaptation.shared.named_buffers():
        assert torch.equal(again.shared.get_buffer(name), buffer)
        assert not torch.equal(other.shared.get_buffer(name), buffer)
    offsets = [one.offset for one in adaptation.adapters.values()]
    assert not torch.equal(offsets[2], offsets[1][:, :4])
    assert float(offsets[0].abs().max()) <= 1 / 6**0.5


def test_a_checkpoint_holds_the_coefficients_alone(tmp_path):
    adaptation = moved(adapt(chain(60, 80, 50), NOLA(rank=8, k=20), seed=3))
    x = draw(4, 60)
    output = adaptation.model(x)
    adaptation.save(tmp_path)
    assert torch.equal(load(chain(60, 80, 50), tmp_path).model(x), output)
    assert sum(p.numel() for p in adaptation.parameters()) == 2 * (20 + 20)
    assert (tmp_path / "adapter.safetensors").stat().st_size < 8 * (80 + 16) + 1000


def test_other_random_matrices_than_the_trained_ones_are_refused(tmp_path):
    adaptation = adapt(chain(6, 4), NOLA(rank=2, k=4))
    adaptation.shared.probe[-1] += 0.1  # as if the random stream had been another one
    adaptation.save(tmp_path)
    with pytest.raises(CheckpointError, match="other random numbers"):
        load(chain(6, 4), tmp_path)


def test_a_target_may_have_a_smaller_rank_of_its_own():
    adaptation = moved(adapt(chain(6, 7, 5), NOLA(rank=3, k=4), ranks={"1": 2}))
    adapter = adaptation.adapters["1"]
    left, right = by_loops(adapter, 2)
    assert_close(adapter.delta(), 8.0 / 2 * left @ right)
    with pytest.raises(MethodError, match="rank 4 of '1' is above 3"):
        adapt(chain(6, 7, 5), NOLA(rank=3, k=4), ranks={"1": 4})


def test_a_stack_of_experts_has_coefficients_for_each():
    stack = Experts(3, 4, 6).double()
    adapter = moved(adapt(stack, NOLA(rank=2, k=5), ["up_proj"])).adapters["up_proj"]
    assert adapter.a.shape == adapter.b.shape == (3, 5)
    delta = adapter.delta().detach()
    for expert in range(3):
        right = adapter.offset[expert] + (adapter.a[expert] @ adapter.shared.right).view(2, 6) / 5**0.5
        left = (adapter.b[expert] @ adapter.shared.left).view(4, 2) / 5**0.5
        assert_close(delta[expert], 4.0 * left @ right)


def test_merging_and_conversion_to_lora_keep_the_function():
    model, x = chain(10, 8), draw(4, 10)
    adaptation = moved(adapt(model, NOLA(rank=3, k=6), ["0"]))
    output = model(x)
    adaptation.merge()
    assert_close(model(x), output)
    adaptation.unmerge()
    conversion = adaptation.convert(LoRA(rank=3))
    assert max(conversion.relative_error.values()) < 1e-12
    assert_close(model(x), output)


def test_autograd_keeps_no_tensor_of_the_size_of_the_random_matrices():
    model = chain(30, 20)
    adaptation = moved(adapt(model, NOLA(rank=2, k=50), ["0"]))
    shared = {buffer.untyped_storage().data_ptr() for buffer in adaptation.shared.buffers()}
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in {*shared, model[0].weight.untyped_storage().data_ptr()}:
            kept.append(tensor.untyped_storage().nbytes() // tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(draw(3, 30))
    assert kept
    assert max(kept) <= 3 * 30


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rank": 0}, "rank must be at least 1"),
        ({"k": 0}, "k must be at least 1"),
        ({"k_left": 0}, "k_left must be at least 1"),
        ({"alpha": 0.0}, "alpha must be above 0"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"rank": 6}, r"rank 6 is above min\(out, in\) = 4"),
    ],
)
def test_what_does_not_fit_is_refused(fields, message):
    with pytest.raises(MethodError, match=message):
        adapt(chain(6, 4), NOLA(**{"k": 3} | fields))


def test_rank_costs_no_parameters_and_helps_at_the_same_number_of_them():
    target = draw(16, 12, seed=3)
    errors = []
    for rank in (1, 6):
        layer = nn.Sequential(nn.Linear(12, 16, bias=False)).double()
        nn.init.zeros_(layer[0].weight)
        adaptation = adapt(layer, NOLA(rank=rank, k=40, alpha=float(rank)), ["0"])
        optimizer = torch.optim.Adam(adaptation.parameters(), lr=0.05)
        for _ in range(250):
            optimizer.zero_grad()
            error = (adaptation.adapters["0"].delta() - target).square().sum() / target.square().sum()
            error.backward()
            optimizer.step()
        assert sum(p.numel() for p in adaptation.parameters()) == 80
        errors.append(float(error.detach()))
    assert errors[1] < errors[0] - 0.1

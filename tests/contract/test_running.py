# SPDX-License-Identifier: Apache-2.0
"""What training loops put around a model: mixed precision, recomputation, accumulation."""

from collections.abc import Iterator

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from rankwise.testing import trial
from rankwise.testing.kinds import EXAMPLES


@pytest.fixture
def without_onednn() -> Iterator[None]:
    """Torch's own kernels: oneDNN has no bfloat16 LSTM on every CPU."""
    enabled = torch.backends.mkldnn.enabled
    torch._C._set_mkldnn_enabled(False)
    yield
    torch._C._set_mkldnn_enabled(enabled)


@pytest.mark.feature("autocast")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.usefixtures("without_onednn")
def test_autocast_changes_only_precision(cell, dtype):
    model, x = cell.kind.model(), cell.kind.inputs()
    if cell.kind.dtype == torch.float64:  # autocast leaves float64 alone
        model, x = model.float(), x.float() if x.is_floating_point() else x
    with torch.autocast("cpu", dtype=dtype):
        expected_dtype = model(x).dtype
    adaptation = trial.adapted(cell, model)
    with trial.given(adaptation, trial.per_example(cell.method), batch_dim=cell.kind.batch_dim):
        expected, wanted = value_and_gradients(adaptation, model, x)
        with torch.autocast("cpu", dtype=dtype):
            actual, found = value_and_gradients(adaptation, model, x)
    assert actual.dtype == expected_dtype
    assert all(found[name].dtype == p.dtype for name, p in adaptation.named_parameters())
    if (
        dtype == torch.float16
    ):  # eight times finer than bfloat16, whose tolerance then leaves room for steps that cancel
        trial.near(actual, expected, torch.bfloat16)
        trial.all_near(found, wanted, torch.bfloat16)


@pytest.mark.feature("recompute")
@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_is_equal(cell, reentrant):
    adaptation, x = trial.adapted(cell), cell.kind.inputs()
    anchor = torch.ones((), dtype=cell.kind.dtype, requires_grad=True)  # reentrant: some input must want a gradient

    def block(x: torch.Tensor, anchor: torch.Tensor) -> torch.Tensor:
        return adaptation.model(x) * anchor

    with trial.given(adaptation, trial.per_example(cell.method), batch_dim=cell.kind.batch_dim):
        expected, gradients = value_and_gradients(adaptation, adaptation.model, x)
        actual, found = value_and_gradients(
            adaptation, lambda x: checkpoint(block, x, anchor, use_reentrant=reentrant), x
        )
    trial.near(actual, expected)
    trial.all_near(found, gradients, actual.dtype)


@pytest.mark.feature("accumulate")
def test_micro_batches_add_up_to_the_batch(cell):
    dim, x, values = cell.kind.batch_dim, cell.kind.inputs(), trial.per_example(cell.method)
    whole, parts = trial.adapted(cell), trial.adapted(cell)
    with trial.given(whole, values, batch_dim=dim):
        trial.loss(whole.model(x)).backward()
    for example in range(EXAMPLES):
        with trial.given(parts, {name: float(value[example]) for name, value in values.items()}):
            trial.loss(parts.model(x.narrow(dim, example, 1))).backward()
    trial.all_near(trial.gradients(parts), trial.gradients(whole), cell.kind.dtype)


@pytest.mark.feature("accumulate")
def test_a_step_over_equal_micro_batches_is_the_step_over_the_batch(cell):
    dim = cell.kind.batch_dim  # equal ones: a schedule's score is no sum over examples, as |a + b| is not |a| + |b|
    one = cell.kind.inputs().narrow(dim, 0, 1)
    states = []
    for batches in ([torch.cat([one, one], dim)], [one, one]):
        adaptation = trial.fresh(cell)
        trial.perturb(adaptation)
        optimizer = trial.attached(adaptation)
        for _ in range(4):
            optimizer.zero_grad()
            for x in batches:
                with trial.given(adaptation, trial.for_all(cell.method)):
                    trial.loss(adaptation.model(x)).backward()
            optimizer.step()
        states.append(trial.state(adaptation))
    trial.all_near(*states, torch.float32 if cell.kind.dtype == torch.float64 else torch.bfloat16)


def value_and_gradients(adaptation, model, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The output of a model, and the gradients of the loss by the adapter's tensors."""
    for parameter in adaptation.parameters():
        parameter.grad = None
    output = model(x)
    trial.loss(output).backward()
    return output.detach(), trial.gradients(adaptation)

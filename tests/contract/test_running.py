# SPDX-License-Identifier: Apache-2.0
"""What training stacks put around a model: compilation, mixed precision, recomputation, accumulation."""

from collections.abc import Iterator

import jaxtyping
import pytest
import torch
from torch.utils.checkpoint import checkpoint

from rankwise.testing import trial
from rankwise.testing.kinds import EXAMPLES


@pytest.fixture
def unchecked() -> Iterator[None]:
    """No run-time type checks: torch.compile cannot trace the checker."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.feature("compile")
@pytest.mark.usefixtures("unchecked")
def test_compiled_equals_eager(cell):
    adaptation, x = trial.adapted(cell), cell.kind.inputs()
    torch._dynamo.reset()
    torch._dynamo.config.allow_rnn = True  # torch compiles no recurrent layer without it
    compiled = torch.compile(adaptation.model, backend="aot_eager", fullgraph=True)
    with trial.given(adaptation, trial.per_example(cell.method), batch_dim=cell.kind.batch_dim):
        expected, gradients = value_and_gradients(adaptation, adaptation.model, x)
        actual, found = value_and_gradients(adaptation, compiled, x)
    trial.near(actual, expected)
    trial.all_near(found, gradients, actual.dtype)


@pytest.fixture
def without_onednn() -> Iterator[None]:
    """Torch's own kernels: oneDNN has no bfloat16 LSTM on every CPU."""
    enabled = torch.backends.mkldnn.enabled
    torch._C._set_mkldnn_enabled(False)
    yield
    torch._C._set_mkldnn_enabled(enabled)


@pytest.mark.feature("autocast")
@pytest.mark.usefixtures("without_onednn")
def test_autocast_changes_only_precision(cell):
    model, x = cell.kind.model(), cell.kind.inputs()
    if cell.kind.dtype == torch.float64:  # autocast leaves float64 alone
        model, x = model.float(), x.float() if x.is_floating_point() else x
    with torch.autocast("cpu", dtype=torch.bfloat16):
        dtype = model(x).dtype
    adaptation = trial.adapted(cell, model)
    with trial.given(adaptation, trial.per_example(cell.method), None, cell.kind.batch_dim):
        expected, gradients = value_and_gradients(adaptation, model, x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            actual, found = value_and_gradients(adaptation, model, x)
    assert actual.dtype == dtype
    assert all(found[name].dtype == p.dtype for name, p in adaptation.named_parameters())
    trial.near(actual, expected, torch.bfloat16)
    trial.all_near(found, gradients, torch.bfloat16)


@pytest.mark.feature("recompute")
@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_is_equal(cell, reentrant):
    adaptation, x = trial.adapted(cell), cell.kind.inputs()
    anchor = torch.ones((), dtype=cell.kind.dtype, requires_grad=True)  # the reentrant kind wants an input with gradient

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
    dim, x = cell.kind.batch_dim, cell.kind.inputs()
    whole, parts = trial.adapted(cell), trial.adapted(cell)
    for adaptation in (whole, parts):
        adaptation.detach()
    optimizers = [trial.attached(adaptation) for adaptation in (whole, parts)]
    values = trial.per_example(cell.method)
    with trial.given(whole, values, batch_dim=dim):
        trial.loss(whole.model(x)).backward()
    for example in range(EXAMPLES):
        with trial.given(parts, {name: float(value[example]) for name, value in values.items()}):
            trial.loss(parts.model(x.narrow(dim, example, 1))).backward()
    trial.all_near(trial.gradients(parts), trial.gradients(whole), cell.kind.dtype)
    for optimizer in optimizers:
        optimizer.step()
    if cell.kind.dtype == torch.float64:  # elsewhere AdamW turns the rounding of a zero gradient into a step
        trial.all_near(trial.state(parts), trial.state(whole))


def value_and_gradients(adaptation, model, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The output of a model, and the gradients of the loss by the adapter's tensors."""
    for parameter in adaptation.parameters():
        parameter.grad = None
    output = model(x)
    trial.loss(output).backward()
    return output.detach(), trial.gradients(adaptation)

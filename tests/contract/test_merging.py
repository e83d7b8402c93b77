# SPDX-License-Identifier: Apache-2.0
"""What is written into the base weights, and what one adapter becomes when it is turned into another."""

import pytest
import torch

from rankwise import LoRA, StateError
from rankwise.testing import trial


@pytest.mark.feature("merge")
def test_merge_equals_forward(cell):
    adaptation, x = trial.adapted(cell), cell.kind.inputs()
    with trial.given(adaptation, trial.for_all(cell.method)):
        expected = trial.dense_output(trial.dense_base(cell.kind), x, [(1.0, adaptation)])
        forward = adaptation.model(x)
        report = adaptation.merge()
    merged = adaptation.model(x)
    trial.near(merged, forward)
    trial.near(merged, expected, merged.dtype)
    assert adaptation.merged and list(report.lost) == list(adaptation.targets)
    with trial.given(adaptation, trial.for_all(cell.method)):
        sizes = {name: torch.linalg.vector_norm(delta) for name, delta in deltas(adaptation).items()}
    for name, target in adaptation.targets.items():
        rounding = torch.finfo(cell.kind.dtype).eps * (torch.linalg.vector_norm(target.matrix()) + sizes[name])
        assert report.lost[name] * sizes[name] <= rounding


@pytest.mark.feature("unmerge")
def test_unmerge_restores_every_bit(cell):
    adaptation, x = trial.adapted(cell), cell.kind.inputs()
    before = {name: value.clone() for name, value in adaptation.model.state_dict().items()}
    with trial.given(adaptation, trial.for_all(cell.method)):
        output = adaptation.model(x)
        for _ in range(3):
            adaptation.merge()
            assert not trial.identical(adaptation.model.state_dict(), before)
            adaptation.unmerge()
            assert trial.identical(adaptation.model.state_dict(), before)
        assert torch.equal(adaptation.model(x), output)


@pytest.mark.feature("merge")
def test_a_tensor_that_is_not_a_number_is_never_merged(cell):
    adaptation = trial.adapted(cell)
    before = {name: value.clone() for name, value in adaptation.model.state_dict().items() if ".rankwise." not in name}
    for name, parameter in adaptation.named_parameters():
        kept = parameter.detach().clone()
        parameter.data.fill_(torch.nan)
        with trial.given(adaptation, trial.for_all(cell.method)), pytest.raises(StateError, match="NaN or infinite"):
            adaptation.merge()
            pytest.fail(f"{name} was merged")
        parameter.data.copy_(kept)
    after = {name: adaptation.model.state_dict()[name] for name in before}
    assert trial.identical(after, before)


@pytest.mark.feature("convert")
def test_the_conversion_error_is_as_stated_and_the_least(cell):
    adaptation, x = trial.adapted(cell), cell.kind.inputs()
    moves_bias = any(adapter.bias_delta() is not None for adapter in adaptation.adapters.values())
    with trial.given(adaptation, trial.for_all(cell.method)):
        old = deltas(adaptation)
        conversion = adaptation.convert(LoRA(rank=1, bias=moves_bias))
    new = deltas(conversion.adaptation)
    for name, delta in old.items():
        values = torch.linalg.svdvals(delta)
        stated = conversion.relative_error[name]
        assert stated == pytest.approx(float(ratio(delta - new[name], delta)), rel=1e-3, abs=1e-5)
        assert stated == pytest.approx(float(ratio(values[..., 1:], values)), rel=1e-3, abs=1e-5)
    base = trial.dense_base(cell.kind)
    trial.near(conversion.adaptation.model(x), trial.dense_output(base, x, [(1.0, conversion.adaptation)]))


def deltas(adaptation) -> dict[str, torch.Tensor]:
    """The dense deltas as matrices by target name."""
    with torch.no_grad():
        adapters = adaptation.adapters.items()
        return {name: one.delta().reshape(one.target.matrix_shape).double() for name, one in adapters}


def ratio(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(part) / torch.linalg.vector_norm(whole)

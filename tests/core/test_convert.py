"""Conversion to the best low-rank adapter, with its exact error."""

import pytest
import torch
from reliability.models import net, perturb, tokens

from rankwise import LoRA, MethodError, adapt
from rankwise.core.convert import best_factors
from rankwise.core.merge import exact_delta
from rankwise.testing import assert_close


def adapted(rank: int = 3, **fields):
    model = net()
    adaptation = adapt(model, LoRA(rank=rank, **fields), targets=["fc", "conv", "attn", "rnn"])
    perturb(adaptation.parameters())
    return model, adaptation


def test_a_conversion_at_the_same_rank_is_exact():
    model, adaptation = adapted()
    expected = model(tokens())
    conversion = adaptation.convert(LoRA(rank=3, alpha=1.0, stabilized=True))
    assert max(conversion.relative_error.values()) == pytest.approx(0, abs=1e-12)
    assert_close(model(tokens()), expected)


def test_the_stated_error_is_the_error_and_the_smallest_possible():
    _, adaptation = adapted()
    deltas = {name: exact_delta(adapter)[0] for name, adapter in adaptation.adapters.items()}
    conversion = adaptation.convert(LoRA(rank=1))
    for name, adapter in conversion.adaptation.adapters.items():
        dense = deltas[name].reshape(adapter.target.matrix_shape)
        actual = (exact_delta(adapter)[0].reshape(dense.shape) - dense).norm() / dense.norm()
        s = torch.linalg.svdvals(dense)
        assert conversion.relative_error[name] == pytest.approx(float(actual), rel=1e-9)
        assert conversion.relative_error[name] == pytest.approx(float(s[1:].norm() / s.norm()), rel=1e-9)


def test_a_rank_above_a_layer_is_lowered_there():
    model, adaptation = adapted(rank=2)
    expected = model(tokens())
    conversion = adaptation.convert(LoRA(rank=6))
    assert conversion.adaptation.adapters["rnn.weight_hh_l0"].right.shape[0] == 5
    assert_close(model(tokens()), expected)


def test_a_change_of_the_bias_is_not_lost():
    model, adaptation = adapted(bias=True)
    expected = model(tokens())
    with pytest.raises(MethodError, match="moves the bias"):
        adaptation.convert(LoRA(rank=3))
    adaptation.convert(LoRA(rank=3, bias=True))
    assert_close(model(tokens()), expected)


def test_a_delta_of_zero_converts_to_zero():
    adaptation = adapt(net(), LoRA(rank=2), targets=["fc"])
    best = best_factors(adaptation.adapters["fc"], 2)
    assert best.relative_error == 0
    assert float((best.left @ best.right).abs().max()) == 0

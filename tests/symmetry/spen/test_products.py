# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from rankwise.symmetry.spen.products import run_products


def draw(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("biased", [False, True])
def test_runs_of_rows_are_multiplied_one_by_one(biased):
    lengths = (2, 0, 3)
    x, weights = draw(5, 4, seed=0), [draw(4, 3, seed=seed) for seed in (1, 2, 3)]
    biases = [draw(3, seed=seed) for seed in (4, 5, 6)] if biased else []

    def call(x, *parameters):
        return run_products(x, lengths, parameters[:3], parameters[3:])

    found = call(x, *weights, *biases)
    for run, rows, number in zip(found.split(lengths), x.split(lengths), range(3), strict=True):
        expected = rows @ weights[number] + (biases[number] if biased else 0)
        torch.testing.assert_close(run, expected)
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(call, (x, *weights, *biases))


def test_rows_that_no_run_holds_are_refused():
    with pytest.raises(RuntimeError, match="split_with_sizes"):
        run_products(torch.ones(5, 2), (2, 2), [torch.ones(2, 2)] * 2)

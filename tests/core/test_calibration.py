# SPDX-License-Identifier: Apache-2.0
"""Running batches: what statistics see, who shares one, what is left out, and what is left as it was."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from random_layers import draw, filled
from rankwise import LoRA, MethodError, TargetError, adapt
from rankwise.core.calibration import Calibration, Group, Reading
from rankwise.core.select import find_targets
from rankwise.core.targets import Target
from rankwise.testing import assert_close

READING = Reading(max_batches=10, use_label_mask=True)


@dataclass
class Kept:
    """A statistic that keeps what it is given."""

    wanted: int = 10
    once: bool = True
    parts: list[Tensor] = field(default_factory=list)

    def update(self, rows: Tensor) -> None:
        self.parts.append(rows.clone())


class Attention(nn.Module):
    """Query, key and value of one input, an input changed in place between two layers, and a view of another."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.q, self.k, self.v = (nn.Linear(4, 3) for _ in range(3))
        self.early, self.late = nn.Linear(3, 2), nn.Linear(3, 2)
        self.flat = nn.Linear(4, 2)
        self.drop = nn.Dropout(0.5)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Any = None) -> Tensor:
        x = self.drop(self.embed(input_ids))
        y = self.q(x) + self.k(x) * self.v(x)
        first = self.early(y)
        y.relu_()
        return first + self.late(y) + self.flat(x.reshape(-1, 4)).reshape(first.shape)


NAMES = ["q", "k", "v", "early", "late", "flat"]


def tokens(seed: int, shape: tuple[int, ...] = (2, 5)) -> Tensor:
    return torch.randint(0, 7, shape, generator=torch.Generator().manual_seed(seed))


def run(
    model: nn.Module, batches: Any, names: list[str], *, once: bool = True, wanted: int = 10, reading: Reading = READING
) -> list[Group]:
    """Kept inputs of the named layers, each statistic active until it has `wanted` batches."""

    def build(shared: list[Target]) -> Kept:
        return Kept(wanted, once)

    def review(groups: list[Group]) -> None:
        for one in groups:
            one.active = len(one.statistic.parts) < one.statistic.wanted

    return Calibration(model, batches, 0).run(find_targets(model, names), reading, build, review)


def group_of(groups: list[Group], name: str) -> Group:
    (found,) = (one for one in groups if name in [target.name for target in one.targets])
    return found


def test_layers_share_a_statistic_only_if_they_read_the_same_values() -> None:
    groups = run(filled(Attention()), [tokens(1)], NAMES)
    assert [[t.name for t in one.targets] for one in groups] == [["q", "k", "v"], ["early"], ["late"], ["flat"]]


def test_an_input_changed_in_place_without_effect_on_the_first_batch_is_still_another_one() -> None:
    model = filled(Attention())
    with torch.no_grad():
        for layer in (model.q, model.k, model.v):
            layer.weight.zero_()
            layer.bias.fill_(1.0)  # relu_ then changes nothing
    groups = run(model, [tokens(1)], ["early", "late"])
    assert len(groups) == 2


def test_rows_are_what_the_layers_read_in_eval_mode() -> None:
    model = filled(Attention())
    batches = [tokens(1), tokens(2)]
    groups = run(model, batches, NAMES)
    x = [model.embed(one).flatten(0, 1) for one in batches]
    y = [model.q(one) + model.k(one) * model.v(one) for one in x]
    for name, expected in (("k", x), ("early", y), ("late", [one.relu() for one in y])):
        for actual, wanted in zip(group_of(groups, name).statistic.parts, expected, strict=True):
            assert_close(actual, wanted.detach())


def test_a_layer_that_is_called_twice_sees_both_inputs_and_shares_with_none() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.one(self.one(x)) + self.two(x)

    model, x = filled(Twice()), draw(4, 3)
    groups = run(model, [x], ["one", "two"])
    assert len(groups) == 2
    assert_close(torch.cat(group_of(groups, "one").statistic.parts), torch.cat([x, model.one(x).detach()]))


@pytest.mark.parametrize("use_label_mask", [True, False])
def test_hidden_tokens_are_left_out(use_label_mask: bool) -> None:
    ids = tokens(3, (2, 3))
    mask, labels = torch.tensor([[1, 1, 0], [1, 0, 0]]), torch.tensor([[-100, 4, 4], [4, 4, -100]])
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    model = filled(Attention())
    groups = run(model, [batch], ["q", "early"], reading=Reading(10, use_label_mask))
    shown = mask.bool() & (labels != -100) if use_label_mask else mask.bool()
    (rows,) = group_of(groups, "q").statistic.parts
    assert torch.equal(rows, model.embed(ids[shown]).detach())


def test_masks_also_hold_for_inputs_with_all_tokens_in_one_dimension() -> None:
    ids, mask = tokens(3, (2, 3)), torch.tensor([[1, 1, 0], [1, 0, 0]])
    model = filled(Attention())
    groups = run(model, [{"input_ids": ids, "attention_mask": mask}], ["flat"])
    assert torch.equal(groups[0].statistic.parts[0], model.embed(ids[mask.bool()]).detach())


CONVOLUTIONS = {
    "plain": (nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2)), (2, 3, 6, 5)),
    "groups": (nn.Conv2d(6, 4, 2, padding=1, groups=2), (2, 6, 4, 4)),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_rows_of_a_convolution_are_its_unfolded_patches(kind: str) -> None:
    layer, shape = CONVOLUTIONS[kind]
    model, x = nn.Sequential(filled(layer)), draw(*shape)
    (group,) = run(model, [x], ["0"])
    parts = [
        F.unfold(one, layer.kernel_size, layer.dilation, layer.padding, layer.stride).transpose(1, 2)
        for one in x.chunk(layer.groups, 1)
    ]
    expected = torch.cat([one.flatten(0, 1) for one in parts])
    rows = group.statistic.parts[0]
    assert_close(rows.t() @ rows, expected.t() @ expected)  # the same rows in another order
    assert rows.shape == expected.shape


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(4, 5, 3, padding=1, padding_mode="circular"),
        nn.ConvTranspose2d(4, 6, (2, 3), stride=2, padding=1, output_padding=1, groups=2),
    ],
    ids=["circular", "transposed"],
)
def test_the_kernel_times_the_rows_is_the_layers_output(layer: nn.Module) -> None:
    layer = filled(layer)
    x = draw(2, 4, 7) if isinstance(layer, nn.Conv1d) else draw(2, 4, 3, 5)
    (group,) = run(nn.Sequential(layer), [x], ["0"])
    (target,) = group.targets
    rows = group.statistic.parts[0].unflatten(0, (-1, target.groups))
    matrix = target.matrix().unflatten(0, (target.groups, -1))
    output = torch.einsum("ngi,goi->ngo", rows, matrix).flatten(1) + target.bias()
    expected = layer(x).movedim(1, -1).flatten(0, -2)
    assert_close(output, expected.detach())


def test_batches_repeat_until_nothing_is_wanted_and_at_most_max_batches() -> None:
    batches = [tokens(1), tokens(2)]
    counts = [
        len(run(filled(Attention()), batches, ["q"], once=once, wanted=wanted)[0].statistic.parts)
        for once, wanted in ((False, 5), (True, 5), (False, 99), (True, 1))
    ]
    assert counts == [5, 2, 10, 1]


def test_an_iterator_is_read_once_and_no_further_than_wanted() -> None:
    def stream() -> Iterator[Tensor]:
        yield from (tokens(1), tokens(2), tokens(3))
        raise RuntimeError("read too far")

    (group,) = run(filled(Attention()), stream(), ["q"], wanted=2)
    assert len(group.statistic.parts) == 2
    (group,) = run(filled(Attention()), iter([tokens(1), tokens(2)]), ["q"], once=False, wanted=9)
    assert len(group.statistic.parts) == 2


@pytest.mark.parametrize("batch", [tokens(1), [tokens(1), "label"], (tokens(1),), {"input_ids": tokens(1)}], ids=str)
def test_the_forms_of_a_batch(batch: Any) -> None:
    model = filled(Attention())
    (group,) = run(model, [batch], ["q"])
    assert torch.equal(group.statistic.parts[0], model.embed(tokens(1)).flatten(0, 1).detach())


def test_the_model_is_left_as_it_was() -> None:
    model = filled(Attention())
    model.k.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    before = torch.get_rng_state()
    with pytest.raises(MethodError):
        run(model, [tokens(1), "no batch"], NAMES)
    run(model, [tokens(1)], NAMES)
    assert torch.equal(torch.get_rng_state(), before)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert not any(module._forward_hooks for module in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


class Noisy(nn.Module):
    """A model that draws from the global generator in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x + torch.randn(x.shape, dtype=x.dtype))


def test_a_shuffling_loader_and_a_noisy_model_draw_from_the_seed() -> None:
    def seen(noise: int) -> Tensor:
        torch.manual_seed(noise)
        loader = torch.utils.data.DataLoader(list(draw(12, 3)), batch_size=3, shuffle=True)
        return torch.cat(run(filled(Noisy()), loader, ["layer"])[0].statistic.parts)

    assert torch.equal(seen(1), seen(2))


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "gave no batch"),
        ([torch.randn(2, 3)], "a tensor of shape .* does not run through Attention"),
        ([{"ids": tokens(1)}], "does not run through Attention: TypeError"),
        ([17], "17, does not run"),
        ([()], "does not run"),
        ([{"input_ids": tokens(1), "attention_mask": torch.ones(2, 1, 5, 5)}], r"expected \[batch, tokens\]"),
    ],
    ids=["empty", "dtype", "keyword", "number", "empty tuple", "4-d mask"],
)
def test_batches_that_cannot_be_run_are_refused(batches: list, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        run(filled(Attention()), batches, ["q"])


def test_a_layer_that_no_batch_reaches_is_named() -> None:
    model = filled(Attention())
    model.unused = nn.Linear(3, 3)
    with pytest.raises(TargetError, match=r"1 of 2 targets got no input from the 1 .*: unused\."):
        run(model, [tokens(1)], ["q", "unused"])
    hidden = {"input_ids": tokens(1), "attention_mask": torch.zeros(2, 5)}
    with pytest.raises(TargetError, match="q"):
        run(model, [hidden], ["q"])


def test_inputs_that_are_not_finite_are_refused() -> None:
    model = filled(Attention())
    with torch.no_grad():
        model.embed.weight[0] = torch.inf
    with pytest.raises(MethodError, match=r"input of 'q' .* not finite"):
        run(model, [torch.zeros(1, 2, dtype=torch.int64)], ["q"])


def test_calibration_is_refused_by_methods_that_do_not_read_it() -> None:
    with pytest.raises(MethodError, match="LoRA reads no calibration data; drop calibration="):
        adapt(nn.Sequential(nn.Linear(3, 2)), LoRA(rank=1), ["0"], calibration=[draw(4, 3)])

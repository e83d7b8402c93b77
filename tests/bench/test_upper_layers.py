# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch.nn import functional as F

from rankwise.adapters.lora import LoRA
from rankwise.bench.task import BenchError
from rankwise.bench.tasks.language import TARGETS
from rankwise.bench.upper_layers import Entering, UpperLayers, learned, require_layers
from rankwise.core.adapt import adapt
from rankwise.recipes.batches import Collator
from rankwise.recipes.encode import IGNORED
from rankwise.testing.tolerance import assert_close
from tiny_language import PAD, random_items, random_llama


@pytest.fixture(scope="module")
def model():
    return random_llama(layers=4)


ITEMS = random_items(6, seed=1)
BATCH = Collator(PAD)(ITEMS)


def entering(model, first):
    states = Entering(model, first, [len(item.input_ids) for item in ITEMS])
    states.fill(model, ITEMS, PAD, size=4)
    return states.padded(range(len(ITEMS)), ITEMS)


def perturbed(model, targets):
    """A LoRA whose two factors are far from where they start; the same on every model with the same upper layers."""
    adaptation = adapt(model, LoRA(rank=3), targets=targets)
    generator = torch.Generator().manual_seed(5)
    parameters = list(adaptation.parameters())
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return parameters


@pytest.mark.parametrize("first", [0, 1, 3])
def test_loss_and_gradients_are_those_of_the_whole_model(first):
    whole = random_llama(layers=4)
    upper = UpperLayers(whole, first)
    names = "|".join(TARGETS)
    theirs = perturbed(whole, rf"model\.layers\.[{first}-3]\..*({names})")
    ours = perturbed(upper, TARGETS)
    expected = whole(**BATCH).loss
    logits = upper(entering(random_llama(layers=4), first), BATCH["attention_mask"], BATCH["labels"])
    found = F.cross_entropy(logits, BATCH["labels"][BATCH["labels"] != IGNORED])
    assert_close(found, expected)
    for one, other in zip(torch.autograd.grad(found, ours), torch.autograd.grad(expected, theirs), strict=True):
        assert float(other.abs().max()) > 1e-4
        assert_close(one, other)


def test_nothing_is_shared_with_the_model_and_only_layers_and_norm_are_parameters(model):
    upper = UpperLayers(model, 2)
    theirs = {parameter.data_ptr() for parameter in model.parameters()}
    assert not theirs & {tensor.data_ptr() for tensor in (*upper.parameters(), *upper.buffers())}
    count = (
        sum(p.numel() for layer in model.model.layers[2:] for p in layer.parameters()) + model.model.norm.weight.numel()
    )
    assert sum(p.numel() for p in upper.parameters()) == count
    assert len(model.model.layers) == model.config.num_hidden_layers == 4


def test_adapters_go_onto_all_linear_layers_and_not_onto_the_head(model):
    upper = UpperLayers(model, 3)
    assert len(adapt(upper, LoRA(rank=2), targets=TARGETS).adapters) == len(TARGETS)
    assert len(adapt(UpperLayers(model, 3), LoRA(rank=2)).adapters) == len(TARGETS)


def test_states_do_not_depend_on_the_batch_they_were_computed_in(model):
    lengths = [len(item.input_ids) for item in ITEMS]
    one_by_one, together = (Entering(model, 2, lengths) for _ in range(2))
    one_by_one.fill(model, ITEMS, PAD, size=1)
    together.fill(model, ITEMS, PAD, size=6)
    assert float(together.states.abs().min(0).values.max()) > 0
    assert_close(one_by_one.states, together.states)


def test_learned_are_the_places_before_labels():
    labels = torch.tensor([[7, IGNORED, 3, 4], [IGNORED, IGNORED, IGNORED, 9]])
    assert learned(labels).tolist() == [[False, True, True, False], [False, False, True, False]]


@pytest.mark.parametrize("first", [-1, 4, 30])
def test_freezing_every_layer_is_refused(model, first):
    with pytest.raises(BenchError, match=rf"frozen_layers={first}: the model has 4 layers; freeze 0 to 3"):
        require_layers(model, first)

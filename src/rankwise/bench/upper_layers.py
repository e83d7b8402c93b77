# SPDX-License-Identifier: Apache-2.0
"""A decoder cut in two: frozen lower layers that run once, upper layers that are adapted.

    h = layer_k(... layer_1(E[tokens]))                   once for every sequence, since nothing in it is trained
    logits = H norm(layer_n(... layer_(k+1)(h)))          in every step, H only where a label needs it

This gives the same losses and the same gradients as the whole model with its first k layers unadapted. The tables of
embeddings E and of the head H are constants here. For Llama and nothing else.
"""

from collections.abc import Sequence
from copy import deepcopy

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaForCausalLM, LlamaModel

from rankwise.bench.task import BenchError
from rankwise.recipes.batches import Collator
from rankwise.recipes.encode import IGNORED, Encoded


def learned(labels: Int[Tensor, "batch length"]) -> Bool[Tensor, "batch length"]:
    """Where the next token is one that the loss counts."""
    return F.pad(labels[:, 1:] != IGNORED, (0, 1))


class UpperLayers(nn.Module):
    """The layers of a decoder from one on, its last norm and its head.

    Args:
        model: a causal language model; it is not changed and shares no tensor with this one.
        first: how many layers are left out.

    Attributes:
        decoder: the layers and the norm, the only ones with parameters.
        table: the head's weight.
    """

    def __init__(self, model: LlamaForCausalLM, first: int) -> None:
        super().__init__()
        self.decoder = _cut(model, first, None)
        self.table: Tensor
        self.register_buffer("table", model.lm_head.weight.detach().clone(), persistent=False)

    def forward(
        self,
        inputs_embeds: Float[Tensor, "batch length dim"],
        attention_mask: Int[Tensor, "batch length"],
        labels: Int[Tensor, "batch length"],
    ) -> Float[Tensor, "learned vocabulary"]:
        """The logits of the tokens that have a label, in the order of the batch.

        Args:
            inputs_embeds: what enters the first of these layers.
            attention_mask: 0 for padding.
            labels: the tokens, IGNORED where no logits are wanted.
        """
        output = self.decoder(inputs_embeds=inputs_embeds, attention_mask=attention_mask, use_cache=False)
        return F.linear(output.last_hidden_state[learned(labels)], self.table)


class Entering(nn.Module):
    """What enters the upper layers, for a list of sequences.

    With lower layers it is computed once, by `fill`; without, it is looked up in the embeddings each time.

    Args:
        model: the whole model.
        first: how many lower layers there are.
        lengths: of the sequences.

    Attributes:
        embeddings: the table; empty with lower layers.
        states: one row a token, sequence after sequence; empty without lower layers.
    """

    def __init__(self, model: LlamaForCausalLM, first: int, lengths: Sequence[int]) -> None:
        super().__init__()
        table = model.model.embed_tokens.weight.detach()
        self.first, self.lengths = first, list(lengths)
        self.register_buffer("embeddings", table[: 0 if first else None].clone(), persistent=False)
        self.register_buffer("states", table.new_zeros(sum(lengths) if first else 0, table.shape[1]))
        self.embeddings: Tensor
        self.states: Tensor

    def fill(self, model: LlamaForCausalLM, items: Sequence[Encoded], pad: int, size: int = 8) -> None:
        """Run the lower layers over all sequences.

        Args:
            model: the whole model.
            items: the sequences.
            pad: id of the padding token.
            size: sequences in one forward pass.
        """
        if not self.first:
            return
        lower, collator = _cut(model, 0, self.first).eval(), Collator(pad)
        ranked = sorted(range(len(items)), key=lambda index: self.lengths[index])
        rows = self.states.split(self.lengths)
        with torch.no_grad():
            for start in range(0, len(ranked), size):
                chosen = ranked[start : start + size]
                batch = {k: v.to(model.device) for k, v in collator([items[i] for i in chosen]).items()}
                output = lower(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False)
                for index, state in zip(chosen, output.last_hidden_state, strict=True):
                    rows[index].copy_(state[: self.lengths[index]])

    def padded(self, indices: Sequence[int], items: Sequence[Encoded]) -> Float[Tensor, "batch length dim"]:
        """The states of some of the sequences, zeros behind the shorter ones.

        Args:
            indices: places of the sequences in the list.
            items: the very sequences.
        """
        if not self.first:
            tokens = [torch.tensor(item.input_ids, device=self.embeddings.device) for item in items]
            return pad_sequence([self.embeddings[one] for one in tokens], batch_first=True)
        rows = self.states.split(self.lengths)
        return pad_sequence([rows[index] for index in indices], batch_first=True)


def require_layers(model: LlamaForCausalLM, first: int) -> None:
    """Raise unless a model can be cut behind that many layers.

    Raises:
        BenchError: if nothing would be left to adapt.
    """
    count = len(model.model.layers)
    if not 0 <= first < count:
        raise BenchError(f"frozen_layers={first}: the model has {count} layers; freeze 0 to {count - 1} of them.")


def _cut(model: LlamaForCausalLM, start: int, stop: int | None) -> LlamaModel:
    """A copy of a range of layers, without the embeddings if it ends at the top, otherwise without the norm."""
    decoder = deepcopy(model.model)
    decoder.layers = decoder.layers[start:stop]
    decoder.config.num_hidden_layers = len(decoder.layers)
    if stop is None:
        del decoder.embed_tokens
    else:
        decoder.norm = nn.Identity()  # type: ignore[assignment]
    return decoder
